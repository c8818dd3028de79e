"""Folders for what runs as another user than the test."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def folder_for_all() -> Iterator[Path]:
    """Make a temporary folder that every user can enter, unlike pytest's own: root's PostgreSQL runs as nobody."""
    with tempfile.TemporaryDirectory(prefix="solo60-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
