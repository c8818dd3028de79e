"""Follower of the local span store: new lines of all files, also while services write and rotate them."""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING

from mesh.telemetry.span_files import SUFFIX, is_file_at, open_files, services_with_spans

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

BLOCK_BYTES = 64 * 1024
# A longer line is no span of `mesh.telemetry.span_records`, and would be stored until its end arrives.
MAX_LINE_BYTES = 16 * BLOCK_BYTES


class SpanFollower:
    """Reader of each complete line in a span folder, once, from the stored ones to those that are added later.

    A line that a process is still writing is read when it is complete.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._services: dict[str, _ServiceFollower] = {}

    def close(self) -> None:
        """Close all files."""
        for each in self._services.values():
            each.close()

    def new_blocks(self) -> Iterator[list[bytes]]:
        """Yield the lines added since the last call, in blocks of at most about BLOCK_BYTES."""
        for name in services_with_spans(self._folder):
            if name not in self._services:
                self._services[name] = _ServiceFollower(self._folder, name)
        for each in self._services.values():
            yield from each.new_blocks()


class _ServiceFollower:
    """Follower of one service's files."""

    def __init__(self, folder: Path, service: str) -> None:
        self._folder = folder
        self._service = service
        # Files that are not completely read, the oldest first. The last one is the file that is being written.
        self._files: deque[BinaryIO] = deque()
        self._partial_line = b""

    def close(self) -> None:
        for file in self._files:
            file.close()
        self._files.clear()

    def new_blocks(self) -> Iterator[list[bytes]]:
        while self._files or self._open_newer_files():
            block = self._files[0].read(BLOCK_BYTES)
            if block:
                yield self._whole_lines(block)
            elif len(self._files) > 1:  # the end of a rotated file
                self._files.popleft().close()
                self._partial_line = b""
            elif not self._open_newer_files():
                return

    def _whole_lines(self, block: bytes) -> list[bytes]:
        *lines, self._partial_line = (self._partial_line + block).split(b"\n")
        if len(self._partial_line) > MAX_LINE_BYTES:
            self._partial_line = b""
        return lines

    def _open_newer_files(self) -> bool:
        """Open the files that follow the one that is being read; return whether there is something to read."""
        last = self._files[-1] if self._files else None
        path = self._folder / f"{self._service}{SUFFIX}"
        if last is not None and is_file_at(path, last):
            return self._restart_if_truncated(last)
        if last is not None and not path.exists():
            return False  # between the two steps of a rotation, or while the folder is being deleted
        files = open_files(self._folder, self._service)
        known = [number for number, file in enumerate(files) if last is not None and _is_same(file, last)]
        first_new = known[-1] + 1 if known else 0
        for file in files[:first_new]:
            file.close()
        # Until a rotated file is read to its end, it stays open, so no other file can get its inode number.
        self._files.extend(files[first_new:])
        return len(files) > first_new

    def _restart_if_truncated(self, file: BinaryIO) -> bool:
        is_truncated = os.fstat(file.fileno()).st_size < file.tell()
        if is_truncated:
            file.seek(0)
            self._partial_line = b""
        return is_truncated


def _is_same(file: BinaryIO, other: BinaryIO) -> bool:
    return os.path.samestat(os.fstat(file.fileno()), os.fstat(other.fileno()))
