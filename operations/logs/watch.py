"""Watch over the log files of a local mesh: undeclared calls, and the last error."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from local.log_reader import SUFFIX, LogLine, services_with_logs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

# An undeclared call is logged at most once per minute while it happens, so after an hour it has stopped.
UNDECLARED_CALL_SHOWN = timedelta(hours=1)
# Only the end of each log is read at first, so that the first read takes well under a second.
FIRST_BYTES = 4 * 1024 * 1024
BLOCK_BYTES = 256 * 1024
# Most lines are about neither. A text search is cheaper than parsing them.
_UNDECLARED = b'"event":"undeclared call"'
_ERRORS = (b'"level":"error"', b'"level":"critical"')


@dataclass(frozen=True, slots=True)
class UndeclaredCall:
    """Call from `method` of `service` to `callee`, both by full name, which the contract does not list."""

    service: str
    method: str
    callee: str


@dataclass(frozen=True, slots=True)
class LogFindings:
    """Undeclared calls of the last hour, and the last line at level error or above, if there is one."""

    undeclared: tuple[UndeclaredCall, ...] = ()
    last_error: LogLine | None = None


class LogWatch:
    """Findings in the logs in `folder`. Each `read` reads only the lines since the last one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tails: dict[str, _Tail] = {}
        self._undeclared: dict[UndeclaredCall, str] = {}
        self._last_error: LogLine | None = None

    def read(self, now: datetime) -> LogFindings:
        """Read the new lines of all logs, and return all findings; raise OSError if a log cannot be read.

        `now` is the time of the system, as in log lines.
        """
        for service in services_with_logs(self._folder):
            tail = self._tails.setdefault(service, _Tail(self._folder / f"{service}{SUFFIX}"))
            for raw in tail.new_lines():
                self._note(raw, service)
        oldest = (now.astimezone(UTC) - UNDECLARED_CALL_SHOWN).isoformat()
        self._undeclared = {call: time for call, time in self._undeclared.items() if time >= oldest}
        return LogFindings(tuple(self._undeclared), self._last_error)

    def close(self) -> None:
        """Close all files."""
        for tail in self._tails.values():
            tail.close()

    def _note(self, raw: bytes, service: str) -> None:
        if _UNDECLARED in raw:
            line = LogLine.parse(raw.decode("utf-8", "replace"), service)
            call = UndeclaredCall(line.service, str(line.facts.get("method", "")), str(line.facts.get("callee", "")))
            self._undeclared[call] = line.timestamp
        elif any(level in raw for level in _ERRORS):
            line = LogLine.parse(raw.decode("utf-8", "replace"), service)
            # A text inside of another value can look like a level.
            is_error = line.facts.get("level") in ("error", "critical")
            if is_error and (self._last_error is None or line.timestamp >= self._last_error.timestamp):
                self._last_error = line


class _Tail:
    """Lines at the end of a log file that may be rotated."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._partial_line = b""

    def new_lines(self) -> Iterator[bytes]:
        """Yield each complete line that was added since the last call, or is among the last ones at the first call."""
        if self._file is None:
            self._file = self._path.open("rb")
            start = max(0, os.fstat(self._file.fileno()).st_size - FIRST_BYTES)
            self._file.seek(start)
            if start:
                self._file.readline()
        yield from self._rest(self._file)
        if self._is_replaced(self._file):
            # The lines between the last read and the rename are in the old file.
            yield from self._rest(self._file)
            self._file.close()
            self._file, self._partial_line = self._path.open("rb"), b""
            yield from self._rest(self._file)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _rest(self, file: BinaryIO) -> Iterator[bytes]:
        while block := file.read(BLOCK_BYTES):
            *whole, self._partial_line = (self._partial_line + block).split(b"\n")
            yield from whole

    def _is_replaced(self, file: BinaryIO) -> bool:
        now, opened = self._path.stat(), os.fstat(file.fileno())
        return (now.st_dev, now.st_ino) != (opened.st_dev, opened.st_ino) or now.st_size < file.tell()
