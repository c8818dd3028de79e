from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from mesh.config import SettingsError
from mesh.folder_lock import LOCK_NAME, FolderInUse, folder_locked, read_published

if TYPE_CHECKING:
    from pathlib import Path


def test_a_folder_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    """The second is told who the first is."""
    sentence = f"DATA_DIR: process {os.getpid()} runs a mesh in {re.escape(str(tmp_path))}; stop it first."
    with folder_locked(tmp_path), pytest.raises(FolderInUse, match=sentence), folder_locked(tmp_path):
        pass


def test_a_folder_is_free_once_its_holder_is_done(tmp_path: Path) -> None:
    """Nothing is left behind, and the next one may have it."""
    for _ in range(2):
        with folder_locked(tmp_path):
            assert (tmp_path / LOCK_NAME).exists()
        assert not (tmp_path / LOCK_NAME).exists()


def test_what_the_holder_publishes_is_read_while_it_holds_the_folder(tmp_path: Path) -> None:
    """A file that a killed holder left behind says nothing any more."""
    with folder_locked(tmp_path) as lock:
        lock.publish(database_url="postgresql://127.0.0.1:1/postgres")
        left_behind = (tmp_path / LOCK_NAME).read_text()
        assert read_published(tmp_path) == {"pid": os.getpid(), "database_url": "postgresql://127.0.0.1:1/postgres"}

    assert read_published(tmp_path) is None
    (tmp_path / LOCK_NAME).write_text(left_behind)
    assert read_published(tmp_path) is None
    with folder_locked(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """One sentence names the setting."""
    (tmp_path / "file").touch()

    with pytest.raises(SettingsError, match=r"^DATA_DIR: .*/file/data cannot be written: Not a directory\.$"):
        folder_locked(tmp_path / "file" / "data").__enter__()


def test_nobody_else_may_read_where_the_database_is(tmp_path: Path) -> None:
    """The file is its owner's alone."""
    with folder_locked(tmp_path):
        assert (tmp_path / LOCK_NAME).stat().st_mode & 0o777 == 0o600
