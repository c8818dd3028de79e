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
        # The file before these stays open, so that no other file can get its inode number and be taken for it.
        self._completed: BinaryIO | None = None
        self._partial_line = b""

    def close(self) -> None:
        for file in (self._completed, *self._files):
            if file is not None:
                file.close()
        self._completed = None
        self._files.clear()

    def new_blocks(self) -> Iterator[list[bytes]]:
        while self._files or self._open_newer_files():
            block = self._files[0].read(BLOCK_BYTES)
            if block:
                yield self._whole_lines(block)
            elif len(self._files) > 1:  # the end of a rotated file
                self._complete(self._files.popleft())
            elif not self._open_newer_files():
                return

    def _complete(self, file: BinaryIO) -> None:
        if self._completed is not None:
            self._completed.close()
        self._completed = file
        self._partial_line = b""

    def _whole_lines(self, block: bytes) -> list[bytes]:
        *lines, self._partial_line = (self._partial_line + block).split(b"\n")
        if len(self._partial_line) > MAX_LINE_BYTES:
            self._partial_line = b""
        return lines

    def _open_newer_files(self) -> bool:
        """Open the files that follow the one that is being read; return whether there is something to read."""
        if self._files and is_file_at(self._folder / f"{self._service}{SUFFIX}", self._files[-1]):
            return self._restart_if_truncated(self._files[-1])
        known = [file for file in (self._completed, *self._files) if file is not None]
        found = False
        for file in open_files(self._folder, self._service):
            if any(_is_same(file, each) for each in known):
                file.close()
            else:
                self._files.append(file)
                found = True
        return found

    def _restart_if_truncated(self, file: BinaryIO) -> bool:
        is_truncated = os.fstat(file.fileno()).st_size < file.tell()
        if is_truncated:
            file.seek(0)
            self._partial_line = b""
        return is_truncated


def _is_same(file: BinaryIO, other: BinaryIO) -> bool:
    return os.path.samestat(os.fstat(file.fileno()), os.fstat(other.fileno()))
