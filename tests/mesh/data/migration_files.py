"""Fixtures: files of migrations that a test writes, without those of the mesh."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[[str, str], Path]


@pytest.fixture(autouse=True)
def without_tables_of_the_mesh(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Apply no files of the mesh, so that the tests see only their own files; return the mesh's empty folder."""
    folder = tmp_path_factory.mktemp("mesh")
    monkeypatch.setattr("mesh.data.migrations.MESH_MIGRATIONS", folder)
    return folder


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write migration files into `tmp_path`."""

    def write(name: str, statement: str) -> Path:
        path = tmp_path / name
        option = " transaction:false" if " concurrently " in statement else ""
        path.write_text(f"-- migrate:up{option}\n{statement};\n\n-- migrate:down\n")
        return path

    return write
