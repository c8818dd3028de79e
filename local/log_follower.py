"""Follower of a service's log file: reads the lines that are added, also after a rotation."""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING

from local.log_reader import SUFFIX, LogLine, LogPosition, identity_of, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

BLOCK_BYTES = 64 * 1024
READ_BYTES = 256 * 1024


class LogFollower:
    """Follower of one service's log: reads the lines in the last `history_bytes` of the file, then all added lines.

    Each read returns at most the latest `max_lines` new lines, if that is given, and adds the number of earlier ones to
    `skipped`.
    """

    def __init__(self, folder: Path, service: str, *, max_lines: int | None = None, history_bytes: int = 0) -> None:
        self._path = folder / f"{service}{SUFFIX}"
        self._service = service
        self._max_lines = max_lines
        self._file: BinaryIO | None = None
        self._partial_line = b""
        self._previous = ""
        self.skipped = 0
        if self._path.exists():
            self._file = self._path.open("rb")
            self._file.seek(_start_of_history(self._file, history_bytes))

    @property
    def position(self) -> LogPosition:
        """The end of the last line that was read."""
        if self._file is None:
            return LogPosition((0, 0), 0)
        return LogPosition(identity_of(self._file), self._file.tell() - len(self._partial_line))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def new_lines(self) -> Iterator[LogLine]:
        """Yield each complete line that was added since the last call."""
        for raw in self.new_raw_lines():
            line = LogLine.parse(text_of(raw), self._service, self._previous)
            self._previous = line.timestamp
            yield line

    def new_raw_lines(self) -> Iterator[bytes]:
        """Yield the same lines as `new_lines`, unparsed and without their ends."""
        yield from self._read_new_lines()
        if self._is_rotated():
            # Lines written between the read and the rename are still in the old file.
            yield from self._read_new_lines()
            # If this fails, the next call tries again.
            file = self._path.open("rb")
            self.close()
            self._file, self._partial_line = file, b""
            yield from self._read_new_lines()

    def _read_new_lines(self) -> Iterator[bytes]:
        if self._file is None:
            return
        raws: deque[bytes] = deque(maxlen=self._max_lines)
        number = 0
        while block := self._file.read(READ_BYTES):
            *whole, self._partial_line = (self._partial_line + block).split(b"\n")
            raws += whole
            number += len(whole)
        self.skipped += number - len(raws)
        yield from raws

    def _is_rotated(self) -> bool:
        """Return whether the path now leads to another file than the open one, or to a truncated file."""
        if not self._path.exists():
            return False
        if self._file is None:
            return True
        now, opened = self._path.stat(), os.fstat(self._file.fileno())
        return (now.st_dev, now.st_ino) != (opened.st_dev, opened.st_ino) or now.st_size < self._file.tell()


def _start_of_history(file: BinaryIO, history_bytes: int) -> int:
    """Return the offset of the first line that begins in the last `history_bytes` of a file."""
    if not history_bytes:
        return _end_of_whole_lines(file)
    start = max(0, file.seek(0, os.SEEK_END) - history_bytes)
    file.seek(start)
    if start:
        file.readline()
    return file.tell()


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
