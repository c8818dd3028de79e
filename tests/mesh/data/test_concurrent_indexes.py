from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from mesh.data import dbmate
from mesh.data.dbmate import TimeLimits
from mesh.data.migrations import MigrationError, migrate
from tests.mesh.data.migration_files import without_tables_of_the_mesh, write
from tests.support.eventually import eventually
from tests.support.postgres import connection_to

if TYPE_CHECKING:
    from pathlib import Path

    from tests.mesh.data.migration_files import Write

__all__ = ["without_tables_of_the_mesh", "write"]

IS_VALID = "select indisvalid from pg_index where indexrelid = to_regclass($1)"


async def test_a_failed_concurrent_index_can_be_retried(empty_database_url: str, tmp_path: Path, write: Write) -> None:
    """The invalid index that a failed concurrent build leaves behind does not prevent a successful retry."""
    write("0001_first.sql", "create table first as select 1 as id from generate_series(1, 2)")
    write("0002_index.sql", "create unique index concurrently first_once on first (id)")
    with pytest.raises(MigrationError, match="first_once"):
        await migrate(empty_database_url, tmp_path)
    async with connection_to(empty_database_url) as connection:
        await connection.execute("delete from first where ctid = (select min(ctid) from first)")

    assert await migrate(empty_database_url, tmp_path) == ["0002"]
    async with connection_to(empty_database_url) as connection:
        assert await connection.fetchval(IS_VALID, "first_once")


async def test_a_concurrent_index_is_valid_after_a_lock_timeout(
    empty_database_url: str, tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a build times out on a lock, its invalid index is dropped, so that `if not exists` builds it again."""
    monkeypatch.setattr(dbmate, "OUTSIDE_TRANSACTION", TimeLimits(lock_s=1, statement_s=60))
    monkeypatch.setattr(dbmate, "PAUSES_S", (0.05,) * 600)
    write("0001_first.sql", "create table first (id int)")
    await migrate(empty_database_url, tmp_path)
    write("0002_index.sql", "create index concurrently if not exists first_by_id on first (id)")

    async with connection_to(empty_database_url) as writer, connection_to(empty_database_url) as observer:
        transaction = writer.transaction()
        await transaction.start()
        await writer.execute("lock table first in row exclusive mode")
        migrating = asyncio.create_task(migrate(empty_database_url, tmp_path))

        async def timed_out() -> bool:
            is_building = await observer.fetchval("select exists (select from pg_stat_progress_create_index)")
            return not is_building and await observer.fetchval(IS_VALID, "first_by_id") is False

        await eventually(timed_out)
        await transaction.rollback()

        assert await migrating == ["0002"]
        assert await observer.fetchval(IS_VALID, "first_by_id")
