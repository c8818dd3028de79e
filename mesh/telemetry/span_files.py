"""Files of the local span store: one current and one older file per service, shared by its processes."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

SUFFIX = ".jsonl"
OLD_SUFFIX = ".old.jsonl"
# A file larger than this is renamed and a new one is started. Only one older file is stored.
MAX_FILE_BYTES = 16 * 1024 * 1024


def append_lines(path: Path, lines: bytes) -> None:
    """Append complete lines to a span file, and rotate the file before if it is too large.

    Lines of several processes never mix. An incomplete line of a killed process is ended first. Raises OSError if the
    lines cannot be written.
    """
    with _open_locked(path) as file:
        if _ends_with_partial_line(file):
            lines = b"\n" + lines
        while lines:
            lines = lines[file.write(lines) :]


def _open_locked(path: Path) -> BinaryIO:
    """Open a span file, and lock it until it is closed.

    Without the lock, two processes that rotate at the same time would replace the older file by an empty one.
    """
    while True:
        file = path.open("a+b", buffering=0)
        fcntl.flock(file, fcntl.LOCK_EX)
        # Another process may have rotated the file while this one waited for the lock.
        if is_file_at(path, file):
            if os.fstat(file.fileno()).st_size <= MAX_FILE_BYTES:
                return file
            path.replace(path.with_suffix(OLD_SUFFIX))
        file.close()


def _ends_with_partial_line(file: BinaryIO) -> bool:
    size = os.fstat(file.fileno()).st_size
    return size > 0 and os.pread(file.fileno(), 1, size - 1) != b"\n"


def services_with_spans(folder: Path) -> list[str]:
    """Return the names of the services with a span file in `folder`."""
    names = (path.name for path in folder.glob(f"*{SUFFIX}"))
    return sorted({name.removesuffix(OLD_SUFFIX).removesuffix(SUFFIX) for name in names})


def open_files(folder: Path, service: str) -> list[BinaryIO]:
    """Open the existing span files of a service, the older one first. No rotation comes between the two."""
    path = folder / f"{service}{SUFFIX}"
    while True:
        current = _opened(path)
        older = _opened(path.with_suffix(OLD_SUFFIX))
        if current is None or is_file_at(path, current):
            return [file for file in (older, current) if file is not None]
        current.close()
        if older is not None:
            older.close()


def _opened(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb", buffering=0)
    except FileNotFoundError:
        return None


def is_file_at(path: Path, file: BinaryIO) -> bool:
    """Return whether `path` leads to the open `file`. A rotated file is at another path."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
