"""Migrations: a service's numbered SQL is applied once, in order, by one process at a time, and never changes then."""

from __future__ import annotations

import asyncio
import hashlib
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import asyncpg

from mesh.database_probe import CONNECT_TIMEOUT_S, CONNECTION_ERRORS
from mesh.dbmate import DbmateError, apply_files
from mesh.failure import Failure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from asyncpg.pool import PoolConnectionProxy

    Connection = asyncpg.Connection[Any]

# The key of the advisory lock, the same in every process: "solo60" in ASCII.
LOCK_KEY = int.from_bytes(b"solo60")
LOCK_POLL_S = 0.1
# The first that has uuidv7() and virtual generated columns, which migrations use.
OLDEST_SERVER = 18
# The database that every server has.
MAINTENANCE_DATABASE = "postgres"
CHECKSUMS = """
    create table if not exists mesh_migration_checksums (
        version text primary key,
        sha256 text not null,
        recorded_at timestamptz not null default now()
    )
"""


class MigrationError(Failure):
    """The database cannot be brought to the wanted version; the text says why and holds no password."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One migration file; `version` is the number at the start of its name."""

    version: str
    path: Path
    sha256: str


async def migrate(database_url: str, folder: Path) -> list[str]:
    """Apply what `folder` holds and the database lacks; return the versions applied now, in order.

    A database that is missing is created. When several processes call it at once, one applies and the others wait.
    Raises MigrationError when the server cannot be reached or is too old, when an applied file was changed or removed,
    or when a file fails: its transaction is rolled back and the ones before it stay applied.
    """
    migrations = _read(folder)
    try:
        async with _locked(database_url) as connection:
            await _refuse_foreign_history(connection, migrations)
            await connection.execute(CHECKSUMS)
            pending = await _pending(connection, migrations)
            try:
                if pending:
                    await apply_files(connection, database_url, [migrations[version].path for version in pending])
            finally:
                await _record(connection, migrations)
            return pending
    except DbmateError as error:
        reason = _without_password(str(error), database_url)
        raise MigrationError(f"the migrations in {folder} cannot be applied: {reason}") from None
    except ValueError:  # its text quotes what it cannot read, which may be a part of the password
        raise MigrationError(f"the migrations in {folder} cannot be applied: the database URL is not valid") from None
    except CONNECTION_ERRORS as error:
        reason = _without_password(str(error) or type(error).__name__, database_url)
        # The cause would print the password with the traceback.
        raise MigrationError(f"the migrations in {folder} cannot be applied: {reason}") from None


async def pending_versions(connection: Connection | PoolConnectionProxy[Any], folder: Path) -> list[str]:
    """Return what `folder` holds and the database lacks, in order; raise MigrationError where it cannot be told."""
    return await _pending(connection, _read(folder))


async def refuse_foreign_history(connection: Connection, folder: Path) -> None:
    """Raise MigrationError where other files than those in `folder` made the database; change nothing."""
    await _refuse_foreign_history(connection, _read(folder))


async def _pending(connection: Connection | PoolConnectionProxy[Any], migrations: Mapping[str, Migration]) -> list[str]:
    applied = await _applied(connection)
    return [version for version in migrations if version not in applied]


def _read(folder: Path) -> dict[str, Migration]:
    """Read the files of a folder by version, in the order of dbmate: by name."""
    migrations: dict[str, Migration] = {}
    if not folder.is_dir():
        raise MigrationError(f"the folder of migrations {folder} does not exist")
    for path in sorted(folder.glob("*.sql")):
        number = re.match(r"\d+", path.name)
        if number is None:
            raise MigrationError(f"{path} has no number: a migration is called 0001_name.sql")
        version = number.group()
        if version in migrations:
            raise MigrationError(f"{path} has the number of {migrations[version].path.name}")
        migrations[version] = Migration(version, path, hashlib.sha256(path.read_bytes()).hexdigest())
    return migrations


@asynccontextmanager
async def _locked(database_url: str) -> AsyncIterator[Connection]:
    """Hold the migration lock of the database on a connection of its own.

    A statement that waited for the lock would hold a snapshot, and `create index concurrently` waits for the end
    of snapshots: the process that has the lock would wait for those that want it. So each asks again and again.
    """
    connection = await _connect(database_url)
    try:
        while not await connection.fetchval("select pg_try_advisory_lock($1)", LOCK_KEY):  # noqa: ASYNC110 - it is PostgreSQL that has the lock
            await asyncio.sleep(LOCK_POLL_S)
        yield connection
    finally:
        await connection.close()


async def _connect(database_url: str) -> Connection:
    """Connect to the database, which is created where it is missing."""
    try:
        connection = await open_database(database_url)
    except asyncpg.InvalidCatalogNameError:
        await _create_database(database_url)
        connection = await open_database(database_url)
    return connection


async def open_database(database_url: str, database: str | None = None) -> Connection:
    """Connect to `database`, else to the URL's own.

    Raises asyncpg.InvalidCatalogNameError when the database is missing. Raises MigrationError when the server cannot be
    reached within 5 s, lets this role not in, or is too old.
    """
    try:
        connection = await asyncpg.connect(database_url, database=database, timeout=CONNECT_TIMEOUT_S)
    except asyncpg.InvalidCatalogNameError:
        raise
    except TimeoutError:
        # It may be suspended or cut off: it takes a connection and says nothing.
        raise MigrationError(f"the server does not answer within {CONNECT_TIMEOUT_S:.0f} s.") from None
    except CONNECTION_ERRORS as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise MigrationError(f"the server cannot be reached: {_without_password(reason, database_url)}.") from None
    except (ValueError, OverflowError):  # the text quotes what it cannot read, which may be a part of the password
        raise MigrationError("this is not a valid database URL.") from None
    try:
        refuse_old_server(connection)
    except MigrationError:
        await connection.close()
        raise
    return connection


def refuse_old_server(connection: Connection | PoolConnectionProxy[Any]) -> None:
    """Raise MigrationError when the server of a connection is older than the migrations need."""
    version = connection.get_server_version().major
    if version < OLDEST_SERVER:
        raise MigrationError(
            f"the server is PostgreSQL {version}; the services need PostgreSQL {OLDEST_SERVER} or newer."
        )


async def _create_database(database_url: str) -> None:
    name = unquote(urlsplit(database_url).path.removeprefix("/"))
    maintenance = await open_database(database_url, MAINTENANCE_DATABASE)
    try:
        quoted = '"' + name.replace('"', '""') + '"'
        await maintenance.execute(f"create database {quoted}")
    except (asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
        pass  # another process was faster
    finally:
        await maintenance.close()


async def _applied(connection: Connection | PoolConnectionProxy[Any]) -> set[str]:
    if await connection.fetchval("select to_regclass('schema_migrations')") is None:
        return set()
    return {row["version"] for row in await connection.fetch("select version from schema_migrations")}


async def _refuse_foreign_history(connection: Connection, migrations: Mapping[str, Migration]) -> None:
    unknown = sorted(await _applied(connection) - migrations.keys())
    if unknown:
        raise MigrationError(
            f"migration {', '.join(unknown)} is applied, but its file is missing: "
            "switch to the branch that has the file, or drop the database"
        )
    if await connection.fetchval("select to_regclass('mesh_migration_checksums')") is None:
        return
    for version, sha256 in await connection.fetch("select version, sha256 from mesh_migration_checksums"):
        if version in migrations and migrations[version].sha256 != sha256:
            path = migrations[version].path
            raise MigrationError(f"{path} was changed after it was applied: put it back and write a new migration")


async def _record(connection: Connection, migrations: Mapping[str, Migration]) -> None:
    """Record the checksum of every applied file that has none yet, also of one that a killed process applied."""
    rows = [(version, migrations[version].sha256) for version in sorted(await _applied(connection))]
    insert = "insert into mesh_migration_checksums (version, sha256) values ($1, $2) on conflict do nothing"
    await connection.executemany(insert, rows)


def _without_password(text: str, database_url: str) -> str:
    """Replace the password of the URL, in both its spellings."""
    try:
        password = urlsplit(database_url).password
    except ValueError:
        return "the database URL is not valid"
    if password:
        for spelling in (password, unquote(password)):
            text = text.replace(spelling, "***")
    return text
