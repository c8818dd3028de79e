"""The folder lock: one mesh at a time runs in a data folder, and others can read where its parts are."""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from mesh.config import SettingsError
from mesh.failure import BadSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCK_NAME = "mesh.lock"
# Whoever only looks whether the lock is held holds it for an instant.
LOOKERS_PATIENCE_S = 0.2


class FolderInUse(BadSettings):
    """A mesh runs in the folder already; the sentence names its process."""


class FolderLock:
    """The lock of a data folder while it is held."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def publish(self, **facts: str) -> None:
        """Let others read the process that holds the lock, and `facts` about it.

        Raises SettingsError when the disk takes nothing.
        """
        try:
            # Past the file's buffer, which would try again when it is closed.
            os.ftruncate(self._file.fileno(), 0)
            os.write(self._file.fileno(), json.dumps({"pid": os.getpid(), **facts}).encode())
        except OSError as error:
            raise _unusable(Path(self._file.name).parent, error) from None


@contextmanager
def folder_locked(folder: Path) -> Iterator[FolderLock]:
    """Hold the lock of `folder`, which is made where it is missing.

    The lock ends with the process that holds it, however that ends. Its file is removed with it. Raises FolderInUse
    when another process has it, SettingsError when nothing can be kept in the folder.
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
    return SettingsError(f"DATA_DIR: nothing can be kept in {folder.absolute()}: {error.strerror}.")


def read_published(folder: Path) -> dict[str, object] | None:
    """Return what the mesh that runs in `folder` has published, or None when none runs."""
    try:
        with (folder / LOCK_NAME).open(encoding="utf-8") as file:
            return None if try_lock(file) else _facts(file)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _locked_file(path: Path) -> IO[str]:
    while True:
        file = path.open("a+", encoding="utf-8")
        path.chmod(0o600)
        if not try_lock(file) and not _try_lock_after(LOOKERS_PATIENCE_S, file):
            with file:
                pid = _facts(file).get("pid", "another")
                raise FolderInUse(f"DATA_DIR: process {pid} runs a mesh in {path.parent.absolute()}; stop it first.")
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return file
        file.close()  # its former holder has just removed it


def try_lock(file: IO[str]) -> bool:
    """Lock a file unless another process holds it; tell whether this one does."""
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
    except ValueError:  # just being written
        return {}
    return facts
