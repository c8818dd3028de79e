"""Temporary folders for programs that run as another user than the test."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMORY = Path("/dev/shm")  # noqa: S108 - each folder in it is made by tempfile
ROOM_BYTES = 4 * 1024**3


@contextmanager
def folder_for_all() -> Iterator[Path]:
    """Make a temporary folder that every user can enter, because root's PostgreSQL runs as user nobody.

    The folder is in memory if /dev/shm has room, because a full run creates hundreds of databases of 300 files each.
    """
    with tempfile.TemporaryDirectory(prefix="solo60-", dir=MEMORY if _has_room(MEMORY) else None) as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def _has_room(folder: Path) -> bool:
    return os.access(folder, os.W_OK) and shutil.disk_usage(folder).free >= ROOM_BYTES
