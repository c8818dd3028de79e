"""Live tail of all logs of a local mesh: each file is read once for all viewers, and only while somebody watches."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from typing import TYPE_CHECKING

import structlog

from local.log_follower import LogFollower
from local.log_reader import last_lines
from operations.logs.filter import names_of_logs

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from local.log_reader import LogLine
    from operations.logs.filter import LogFilter

READ_INTERVAL_S = 0.25
# Longest backlog of one viewer, in lines. Earlier lines are dropped and counted.
BUFFERED_LINES = 300
# Largest number of lines of one log that are parsed in one read. Earlier lines are counted as skipped.
PARSED_LINES = 2_000

_log = structlog.stdlib.get_logger("solo60.logs")


class LogView:
    """Backlog of one viewer: the new lines in the logs `names` that match `wanted`."""

    def __init__(self, names: Collection[str], wanted: LogFilter) -> None:
        self._names = names
        self._wanted = wanted
        self._lines: deque[LogLine] = deque()
        self._dropped = 0

    def __len__(self) -> int:
        """Return the number of lines since the last `take`, including dropped ones."""
        return len(self._lines) + self._dropped

    def take(self, longest: int = BUFFERED_LINES) -> tuple[list[LogLine], int]:
        """Return the last `longest` lines in order of time and the number of earlier lines, and start over."""
        self._drop_to(longest)
        taken = list(self._lines), self._dropped
        self._lines.clear()
        self._dropped = 0
        return taken

    def feed(self, lines: Collection[tuple[str, LogLine]], skipped: Mapping[str, int]) -> None:
        """Add the matching ones of new lines, each with the name of its log. `skipped` counts lines without parsing."""
        self._lines.extend(line for name, line in lines if name in self._names and self._wanted.matches(line))
        self._drop_to(BUFFERED_LINES)
        self._dropped += sum(skipped.get(name, 0) for name in self._names)

    def _drop_to(self, longest: int) -> None:
        while len(self._lines) > longest:
            self._lines.popleft()
            self._dropped += 1


class LogTail:
    """Followers of all logs in `folder`, for any number of viewers.

    `trouble` is the reason why the last read failed, as a sentence, or "".
    """

    def __init__(self, folder: Path) -> None:
        self.trouble = ""
        self._folder = folder
        self._followers: dict[str, LogFollower] = {}
        self._views: list[LogView] = []
        self._reading: asyncio.Task[None] | None = None
        # Held during each read, so that a new view begins exactly where its history ends.
        self._turn = asyncio.Lock()

    async def watch(self, names: Collection[str], wanted: LogFilter, number: int) -> tuple[list[LogLine], LogView]:
        """Return the last `number` matching lines of the logs `names`, and a view of the lines after them.

        The view must be closed by `leave`. Raises OSError if a log cannot be read.
        """
        view = LogView(names, wanted)
        async with self._turn:
            try:
                self._open_new_logs()
            except OSError:
                self._close_logs_without_views()
                raise
            before = {name: follower.position for name, follower in self._followers.items()}
            self._views.append(view)
            if self._reading is None:
                self._reading = asyncio.create_task(self._read_repeatedly())
        try:
            return await asyncio.to_thread(last_lines, self._folder, names, number, wanted, before), view
        except BaseException:
            self.leave(view)
            raise

    def leave(self, view: LogView) -> None:
        """Close a view. The files are closed soon after the last view."""
        if view in self._views:
            self._views.remove(view)

    async def close(self) -> None:
        """Close all views and files."""
        self._views.clear()
        if self._reading is not None:
            await self._reading

    async def _read_repeatedly(self) -> None:
        while True:
            await asyncio.sleep(READ_INTERVAL_S)
            async with self._turn:
                if not self._views:
                    self._close_logs_without_views()
                    self._reading = None
                    return
                await self._read()

    async def _read(self) -> None:
        try:
            self._open_new_logs()
            lines, skipped = await asyncio.to_thread(self._new_lines)
            for view in self._views:
                view.feed(lines, skipped)
        except OSError as error:
            if not self.trouble:
                _log.warning("logs cannot be read", file=error.filename, error=error.strerror)
            self.trouble = f"{error.filename or self._folder} cannot be read: {error.strerror}."
        except Exception:  # noqa: BLE001 - all views would stay silent if the task ended
            if not self.trouble:
                _log.exception("logs cannot be read")
            self.trouble = "The logs cannot be read. The reason is in the log of the console: solo60 logs console"
        else:
            self.trouble = ""

    def _open_new_logs(self) -> None:
        # All lines of a log that appears later are new.
        history_bytes = sys.maxsize if self._followers else 0
        for name in names_of_logs(self._folder):
            if name not in self._followers:
                self._followers[name] = LogFollower(
                    self._folder, name, max_lines=PARSED_LINES, history_bytes=history_bytes
                )

    def _close_logs_without_views(self) -> None:
        if not self._views:
            for follower in self._followers.values():
                follower.close()
            self._followers.clear()

    def _new_lines(self) -> tuple[list[tuple[str, LogLine]], dict[str, int]]:
        lines: list[tuple[str, LogLine]] = []
        skipped: dict[str, int] = {}
        for name, follower in self._followers.items():
            lines += ((name, line) for line in follower.new_lines())
            skipped[name], follower.skipped = follower.skipped, 0
        return sorted(lines, key=lambda each: each[1].timestamp), skipped
