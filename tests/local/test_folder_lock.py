from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from local.folder_lock import LOCK_NAME, FolderInUse, lock_folder, read_published
from mesh.config import SettingsError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_folder_can_be_locked_only_once(tmp_path: Path) -> None:
    """Locking a locked folder raises FolderInUse with the process id of the holder."""
    sentence = f"DATA_DIR: process {os.getpid()} runs a mesh in {re.escape(str(tmp_path))}; stop it first."
    with lock_folder(tmp_path), pytest.raises(FolderInUse, match=sentence), lock_folder(tmp_path):
        pass


def test_a_folder_is_free_after_its_holder_is_done(tmp_path: Path) -> None:
    """After its holder is done, the lock file is gone and the folder can be locked again."""
    for _ in range(2):
        with lock_folder(tmp_path):
            assert (tmp_path / LOCK_NAME).exists()
        assert not (tmp_path / LOCK_NAME).exists()


def test_published_facts_are_readable_only_while_the_folder_is_locked(tmp_path: Path) -> None:
    """Published facts are readable only while the folder is locked.

    A lock file left by a killed holder is ignored.
    """
    with lock_folder(tmp_path) as lock:
        lock.publish(database_url="postgresql://127.0.0.1:1/postgres")
        left_behind = (tmp_path / LOCK_NAME).read_text()
        assert read_published(tmp_path) == {"pid": os.getpid(), "database_url": "postgresql://127.0.0.1:1/postgres"}

    assert read_published(tmp_path) is None
    (tmp_path / LOCK_NAME).write_text(left_behind)
    assert read_published(tmp_path) is None
    with lock_folder(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """The error for a folder that cannot be made names DATA_DIR and the reason."""
    (tmp_path / "file").touch()

    with pytest.raises(SettingsError, match=r"^DATA_DIR: .*/file/data cannot be written: Not a directory\. Fix this, "):
        lock_folder(tmp_path / "file" / "data").__enter__()


def test_only_the_owner_may_read_the_lock_file(tmp_path: Path) -> None:
    """The lock file, which holds the database's URL, is readable and writable only by its owner."""
    with lock_folder(tmp_path):
        assert (tmp_path / LOCK_NAME).stat().st_mode & 0o777 == 0o600
