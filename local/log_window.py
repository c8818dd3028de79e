"""Lines of a log in a span of time, found by binary search, so that a large log is not read as a whole."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from local.log_reader import BLOCK_BYTES, OLD_SUFFIX, SUFFIX, LogLine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO


def lines_between(folder: Path, service: str, start: datetime, end: datetime) -> Iterator[LogLine]:
    """Yield the lines of a service's log from `start` to `end`, in the order of the log.

    Lines without a time have that of the line before them. The search expects the lines to be in the order of their
    times, which is so for the lines of one process.
    """
    for path in (folder / f"{service}{OLD_SUFFIX}", folder / f"{service}{SUFFIX}"):
        try:
            file = path.open("rb")
        except FileNotFoundError:
            continue
        with file:
            yield from _lines_from(file, service, start, end)


def _lines_from(file: BinaryIO, service: str, start: datetime, end: datetime) -> Iterator[LogLine]:
    file.seek(_offset_of(file, start))
    previous = ""
    for raw in file:
        if not raw.endswith(b"\n"):
            return  # the line is still being written
        line = LogLine.parse(raw.decode("utf-8", "replace").rstrip("\r\n"), service, previous)
        previous = line.timestamp
        at = time_of(line)
        if at is not None and at > end:
            return
        if at is not None and at >= start:
            yield line


def _offset_of(file: BinaryIO, start: datetime) -> int:
    """Return the offset of a line shortly before the first line that is not before `start`."""
    low, high = 0, file.seek(0, os.SEEK_END)
    while high - low > BLOCK_BYTES:
        middle = (low + high) // 2
        at, offset = _first_time_after(file, middle, high)
        if at is not None and at < start:
            low = offset
        else:
            high = middle
    return low


def _first_time_after(file: BinaryIO, offset: int, end: int) -> tuple[datetime | None, int]:
    """Return the time and the offset of the first line with a time that begins after `offset` and before `end`."""
    file.seek(offset)
    file.readline()
    while (begin := file.tell()) < end:
        at = time_of(LogLine.parse(file.readline().decode("utf-8", "replace"), ""))
        if at is not None:
            return at, begin
    return None, end


def time_of(line: LogLine) -> datetime | None:
    """Return the time of a line, or None if the line has no valid one. A time without a zone is in UTC."""
    try:
        at = datetime.fromisoformat(line.timestamp)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
