"""Checks of DATA_DIR for write access and free space, and a context that adds the path to a system error."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

from contracts.services import SERVICE_NAMES
from mesh.config import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mesh.config import Settings

MIB = 1024 * 1024
# PostgreSQL adds WAL files of 16 MiB, and stops if it cannot.
MIN_FREE_BYTES = 32 * MIB
MIN_FREE_FOR_LOGS_BYTES = MIB
# An empty server with twice its space for WAL, and one database for each service.
NEW_DATABASE_BYTES = (104 + 8 * len(SERVICE_NAMES)) * MIB


def disk_trouble(folder: Path, min_free_bytes: int = MIN_FREE_BYTES) -> str:
    """Return the reason why an existing folder cannot be written, as a sentence, or "" if it can."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"0")
            file.flush()
        free_bytes = shutil.disk_usage(folder).free
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"the disk of {folder.absolute()} is full."
        return f"{folder.absolute()} cannot be written: {error.strerror}."
    if free_bytes < min_free_bytes:
        return (
            f"the disk of {folder.absolute()} is nearly full: {free_bytes / MIB:.1f} MiB are free, "
            f"{min_free_bytes / MIB:.0f} MiB are needed."
        )
    return ""


def reject_full_disk(settings: Settings) -> None:
    """Raise SettingsError if DATA_DIR lacks space for the data of a mesh."""
    trouble = disk_trouble_of_mesh(settings, at_start=True)
    if trouble:
        raise SettingsError(f"DATA_DIR: {trouble} Fix this, or set DATA_DIR to another folder.")


def disk_trouble_of_mesh(settings: Settings, *, at_start: bool = False) -> str:
    """Return the reason why a mesh cannot write to DATA_DIR, as a sentence, or "" if it can."""
    min_free_bytes = MIN_FREE_BYTES if settings.database_url is None else MIN_FREE_FOR_LOGS_BYTES
    cluster = settings.postgres_folder / "cluster"
    if at_start and settings.database_url is None and not cluster.exists():
        min_free_bytes = NEW_DATABASE_BYTES
    trouble = disk_trouble(settings.data_dir, min_free_bytes)
    folders = [] if settings.database_url is not None else [settings.postgres_folder.resolve()]
    # Each of these folders may be on another disk.
    for folder in (*folders, settings.log_folder, settings.local_span_dir, settings.inbox_folder):
        if not trouble and folder.is_dir() and folder.stat().st_dev != settings.data_dir.stat().st_dev:
            trouble = disk_trouble(folder, MIN_FREE_FOR_LOGS_BYTES)
    return trouble


@contextmanager
def with_path(path: Path | str) -> Iterator[None]:
    """Add `path` to an OSError of the context that has no file name, such as that of a write."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from None
