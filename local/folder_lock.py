"""Lock of a data folder for one mesh at a time. The lock file shows other processes how to reach the mesh."""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING

from mesh.config import SettingsError
from mesh.failure import BadSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCK_NAME = "mesh.lock"
# A process that only checks the lock holds it for an instant. A second attempt after this pause avoids a false alarm.
LOCK_RETRY_PAUSE_S = 0.2


class FolderInUse(BadSettings):
    """Error for a folder in which a mesh already runs; the message names the process of the mesh."""


class FolderLock:
    """Lock of a data folder while it is held."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def publish(self, **facts: str) -> None:
        """Write this process's id and `facts` to the lock file for other processes.

        Raises SettingsError if the file cannot be written.
        """
        try:
            # Unbuffered, because a buffered file would retry the failed write when it is closed.
            os.ftruncate(self._file.fileno(), 0)
            os.write(self._file.fileno(), json.dumps({"pid": os.getpid(), **facts}).encode())
        except OSError as error:
            raise _unusable(Path(self._file.name).parent, error) from None


@contextmanager
def lock_folder(folder: Path) -> Iterator[FolderLock]:
    """Hold the lock of `folder`, which is created if missing.

    The lock is released when its process ends for any reason. The lock file is removed at the end of the context.
    Raises FolderInUse if another process holds the lock, SettingsError if the folder cannot be written.
    """
    path = folder / LOCK_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = _locked_file(path)
    except OSError as error:
        raise _unusable(folder, error) from None
    with held as file:
        lock = FolderLock(file)
        lock.publish()
        try:
            yield lock
        finally:
            path.unlink(missing_ok=True)


def _unusable(folder: Path, error: OSError) -> SettingsError:
    remedy = "Fix this, or set DATA_DIR to another folder."
    return SettingsError(f"DATA_DIR: {folder.absolute()} cannot be written: {error.strerror}. {remedy}")


def read_published(folder: Path) -> dict[str, object] | None:
    """Return the published facts of the mesh that runs in `folder`, or None if none runs."""
    try:
        with (folder / LOCK_NAME).open(encoding="utf-8") as file:
            return None if try_lock(file) else _facts(file)
    except (FileNotFoundError, NotADirectoryError):
        return None


def published_at(folder: Path) -> datetime | None:
    """Return the time when the mesh that runs in `folder` last published facts, or None if none runs.

    A mesh does so when all of its parts are ready.
    """
    if read_published(folder) is None:
        return None
    try:
        return datetime.fromtimestamp((folder / LOCK_NAME).stat().st_mtime, UTC)
    except FileNotFoundError:  # the mesh has just stopped
        return None


def _locked_file(path: Path) -> IO[str]:
    while True:
        file = path.open("a+", encoding="utf-8")
        path.chmod(0o600)
        if not try_lock(file) and not _try_lock_after(LOCK_RETRY_PAUSE_S, file):
            with file:
                pid = _facts(file).get("pid", "another")
                raise FolderInUse(f"DATA_DIR: process {pid} runs a mesh in {path.parent.absolute()}; stop it first.")
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return file
        file.close()  # the previous holder has just removed this file


def try_lock(file: IO[str]) -> bool:
    """Lock a file unless another process holds the lock; return whether that succeeded."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _try_lock_after(pause_s: float, file: IO[str]) -> bool:
    time.sleep(pause_s)
    return try_lock(file)


def _facts(file: IO[str]) -> dict[str, object]:
    file.seek(0)
    try:
        facts: dict[str, object] = json.load(file)
    except ValueError:  # the file is being written
        return {}
    return facts
