"""Reader of a local mesh's log files, ordered by time, also while the files are written and rotated."""

from __future__ import annotations

import heapq
import json
import os
from collections import deque
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

SUFFIX = ".jsonl"
OLD_SUFFIX = ".old.jsonl"
BLOCK_BYTES = 4096


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a log.

    `timestamp` is ISO 8601 in UTC. A line that is not JSON, for example of a process that could not start, gets the
    timestamp of the line before it. Such a line has one fact, "event", which is its text.
    """

    timestamp: str
    service: str
    facts: dict[str, Any]

    @classmethod
    def parse(cls, text: str, service: str, previous: str = "") -> Self:
        """Parse one line of the log of `service`; `previous` is the timestamp of the line before it."""
        try:
            facts = json.loads(text)
        except (ValueError, RecursionError):
            facts = None
        if not isinstance(facts, dict):
            facts = {"event": text}
        return cls(str(facts.get("timestamp", previous)), str(facts.get("service", service)), facts)

    @property
    def correlation_id(self) -> str:
        """The correlation id of the line's call, or ""."""
        return str(self.facts.get("correlation_id", ""))


def services_with_logs(folder: Path) -> list[str]:
    """Return the names of the services with a log in `folder`."""
    return sorted({path.name.partition(".")[0] for path in folder.glob(f"*{SUFFIX}")})


def last_lines(folder: Path, services: list[str], number: int, correlation_id: str = "") -> list[LogLine]:
    """Return the last `number` lines of all these services together, the latest last."""
    found = (_history(folder, service, number, correlation_id) for service in services)
    return list(deque(heapq.merge(*found, key=attrgetter("timestamp")), maxlen=number))


def _history(folder: Path, service: str, number: int, correlation_id: str) -> deque[LogLine]:
    found: deque[LogLine] = deque(maxlen=number)
    previous = ""
    # Without a correlation id, only the last `number` lines need parsing.
    raws = _whole_lines(folder, service)
    for raw in deque(raws, maxlen=number) if not correlation_id else raws:
        if correlation_id.encode() in raw:
            line = LogLine.parse(_text(raw), service, previous)
            previous = line.timestamp
            if correlation_id in ("", line.correlation_id):
                found.append(line)
    return found


def _whole_lines(folder: Path, service: str) -> Iterator[bytes]:
    """Yield the complete lines of a log, the older file first."""
    for path in (folder / f"{service}{OLD_SUFFIX}", folder / f"{service}{SUFFIX}"):
        if path.exists():
            with path.open("rb") as file:
                yield from (raw for raw in file if raw.endswith(b"\n"))


class LogFollower:
    """Follower of one service's log: reads lines added from now on, also after a rotation."""

    def __init__(self, folder: Path, service: str) -> None:
        self._path = folder / f"{service}{SUFFIX}"
        self._service = service
        self._file: BinaryIO | None = None
        self._partial_line = b""
        self._previous = ""
        if self._path.exists():
            self._file = self._path.open("rb")
            self._file.seek(_end_of_whole_lines(self._file))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def new_lines(self) -> Iterator[LogLine]:
        """Yield each complete line that was added since the last call."""
        yield from self._read_new_lines()
        if self._is_rotated():
            # Lines written between the read and the rename are still in the old file.
            yield from self._read_new_lines()
            self.close()
            self._file, self._partial_line = self._path.open("rb"), b""
            yield from self._read_new_lines()

    def _read_new_lines(self) -> Iterator[LogLine]:
        if self._file is None:
            return
        *whole, self._partial_line = (self._partial_line + self._file.read()).split(b"\n")
        for raw in whole:
            line = LogLine.parse(_text(raw), self._service, self._previous)
            self._previous = line.timestamp
            yield line

    def _is_rotated(self) -> bool:
        """Return whether the path now leads to another file than the open one, or to a truncated file."""
        if not self._path.exists():
            return False
        if self._file is None:
            return True
        now, opened = self._path.stat(), os.fstat(self._file.fileno())
        return (now.st_dev, now.st_ino) != (opened.st_dev, opened.st_ino) or now.st_size < self._file.tell()


def _end_of_whole_lines(file: BinaryIO) -> int:
    """Return the offset of the incomplete last line, or the size of the file."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - BLOCK_BYTES)
        file.seek(start)
        last = file.read(end - start).rfind(b"\n")
        if last >= 0:
            return start + last + 1
        end = start
    return 0


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace").rstrip("\r\n")
