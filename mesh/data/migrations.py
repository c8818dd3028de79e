"""Migrations: numbered SQL files of the mesh and of a service, each applied once, in order, by one process at a time.

Each database gets the files of the mesh first, and then those of its service. The mesh's numbers have six digits and
those of services four, so that both fit into one history. An applied file must never change.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import asyncpg

from mesh.data.database_probe import CONNECT_TIMEOUT_S, CONNECTION_ERRORS
from mesh.data.dbmate import DbmateError, apply_files
from mesh.data.earlier_release import CHANGED, REMOVED
from mesh.failure import Failure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from asyncpg.pool import PoolConnectionProxy

    Connection = asyncpg.Connection[Any]

# The tables that the mesh itself needs in each database.
MESH_MIGRATIONS = Path(__file__).parents[1] / "migrations"
# Key of the advisory lock, the same in every process: "solo60" in ASCII.
LOCK_KEY = int.from_bytes(b"solo60")
LOCK_POLL_S = 0.1
# The first version with uuidv7() and virtual generated columns, which migrations use.
MIN_SERVER_VERSION = 18
# A database that every server has.
MAINTENANCE_DATABASE = "postgres"
CHECKSUMS = """
    create table if not exists mesh_migration_checksums (
        version text primary key,
        sha256 text not null,
        recorded_at timestamptz not null default now()
    )
"""
IS_NEW = "select not exists (select from pg_class where relnamespace = 'public'::regnamespace)"


class MigrationError(Failure):
    """The database cannot be migrated; the message gives the reason, without the password."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One migration file; `version` is the number at the start of its name."""

    version: str
    path: Path
    sha256: str


async def migrate(database_url: str, folder: Path) -> list[str]:
    """Apply the files of the mesh and of `folder` that the database lacks; return the versions applied now, in order.

    A missing database is created. If several processes call this at once, one applies and the others wait. Raises
    MigrationError if the server cannot be reached or is too old, if an applied file was changed or removed, or if a
    file fails. The transaction of the failed file is rolled back, and earlier files stay applied.
    """
    migrations = _read(folder)
    try:
        async with _locked(database_url) as connection:
            await _reject_foreign_history(connection, migrations)
            is_new = await connection.fetchval(IS_NEW)
            await connection.execute(CHECKSUMS)
            pending = await _pending(connection, migrations)
            try:
                if pending:
                    files = [migrations[version].path for version in pending]
                    await apply_files(connection, database_url, files, is_new=is_new)
            finally:
                await _record(connection, migrations)
            return pending
    except DbmateError as error:
        reason = _without_password(str(error), database_url)
    except ValueError:  # its text quotes the unreadable part of the URL, which may hold the password
        reason = "the database URL is not valid"
    except CONNECTION_ERRORS as error:
        reason = _without_password(str(error) or type(error).__name__, database_url)
    # Raise outside of `except`, because a chained cause would print the password in the traceback.
    raise MigrationError(f"the migrations in {folder} cannot be applied: {reason.rstrip('.')}.")


async def pending_versions(connection: Connection | PoolConnectionProxy[Any], folder: Path) -> list[str]:
    """Return the versions of the mesh and of `folder` that the database lacks, in order.

    Raises MigrationError for a missing folder or a misnamed file.
    """
    return await _pending(connection, _read(folder))


async def reject_foreign_history(connection: Connection, folder: Path) -> None:
    """Raise MigrationError if the database has other migrations than the mesh and `folder`; change nothing."""
    await _reject_foreign_history(connection, _read(folder))


async def _pending(connection: Connection | PoolConnectionProxy[Any], migrations: Mapping[str, Migration]) -> list[str]:
    applied = await _applied(connection)
    return [version for version in migrations if version not in applied]


def _read(folder: Path) -> dict[str, Migration]:
    """Return the files of the mesh and of a folder by version, sorted by name as in dbmate."""
    migrations: dict[str, Migration] = {}
    if not folder.is_dir():
        raise MigrationError(f"the migrations folder {folder} does not exist.")
    folders = dict.fromkeys((MESH_MIGRATIONS, folder))
    for path in (path for each in folders for path in sorted(each.glob("*.sql"))):
        number = re.match(r"\d+", path.name)
        if number is None:
            raise MigrationError(f"{path} has no number: name it like 0001_name.sql.")
        version = number.group()
        if version in migrations:
            raise MigrationError(f"{path} has the same number as {migrations[version].path.name}: use the next number.")
        migrations[version] = Migration(version, path, hashlib.sha256(path.read_bytes()).hexdigest())
    return migrations


@asynccontextmanager
async def _locked(database_url: str) -> AsyncIterator[Connection]:
    """Hold the migration lock of the database on a separate connection.

    A statement that waits for the lock would hold a snapshot, and `create index concurrently` waits for the end of
    snapshots. So the holder would wait for the waiting processes. Each process therefore polls for the lock instead.
    """
    connection = await _connect(database_url)
    try:
        while not await connection.fetchval("select pg_try_advisory_lock($1)", LOCK_KEY):  # noqa: ASYNC110 - PostgreSQL holds the lock
            await asyncio.sleep(LOCK_POLL_S)
        yield connection
    finally:
        await connection.close()


async def _connect(database_url: str) -> Connection:
    """Connect to the database; create it if it is missing."""
    try:
        connection = await open_database(database_url)
    except asyncpg.InvalidCatalogNameError:
        await _create_database(database_url)
        connection = await open_database(database_url)
    return connection


async def open_database(database_url: str, database: str | None = None) -> Connection:
    """Connect to `database`, or to the URL's own if None.

    Raises asyncpg.InvalidCatalogNameError if the database is missing. Raises MigrationError if the server cannot be
    reached within 5 s, rejects this role, or is too old.
    """
    try:
        connection = await asyncpg.connect(database_url, database=database, timeout=CONNECT_TIMEOUT_S)
    except asyncpg.InvalidCatalogNameError:
        raise
    except TimeoutError:
        # A suspended or unreachable server accepts a connection but never answers.
        raise MigrationError(f"the server does not answer within {CONNECT_TIMEOUT_S:.0f} s.") from None
    except CONNECTION_ERRORS as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise MigrationError(f"the server cannot be reached: {_without_password(reason, database_url)}.") from None
    except (ValueError, OverflowError):  # the text quotes the unreadable part of the URL, which may hold the password
        raise MigrationError("this is not a valid database URL.") from None
    try:
        reject_old_server(connection)
    except MigrationError:
        await connection.close()
        raise
    return connection


def reject_old_server(connection: Connection | PoolConnectionProxy[Any]) -> None:
    """Raise MigrationError if the server of a connection is older than the migrations need."""
    version = connection.get_server_version().major
    if version < MIN_SERVER_VERSION:
        raise MigrationError(
            f"the server is PostgreSQL {version}; the services need PostgreSQL {MIN_SERVER_VERSION} or newer."
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


async def _reject_foreign_history(connection: Connection, migrations: Mapping[str, Migration]) -> None:
    checksums = await _checksums(connection)
    missing = await _applied(connection) - migrations.keys()
    unknown = sorted(version for version in missing if checksums.get(version) not in REMOVED)
    if unknown:
        raise MigrationError(
            f"migration {', '.join(unknown)} is applied, but its file is missing: "
            "switch to the branch or release that has the file."
        )
    for version, sha256 in checksums.items():
        if version in migrations and migrations[version].sha256 not in (sha256, CHANGED.get(sha256)):
            path = migrations[version].path
            raise MigrationError(f"{path} was changed after it was applied: restore it and write a new migration.")


async def _checksums(connection: Connection) -> dict[str, str]:
    if await connection.fetchval("select to_regclass('mesh_migration_checksums')") is None:
        return {}
    return dict(await connection.fetch("select version, sha256 from mesh_migration_checksums"))


async def _record(connection: Connection, migrations: Mapping[str, Migration]) -> None:
    """Record missing checksums of applied files, including files that a killed process applied."""
    rows = [(version, migrations[version].sha256) for version in sorted(await _applied(connection) & migrations.keys())]
    insert = "insert into mesh_migration_checksums (version, sha256) values ($1, $2) on conflict do nothing"
    await connection.executemany(insert, rows)


def _without_password(text: str, database_url: str) -> str:
    """Replace the URL's password in `text`, both as written and unquoted."""
    try:
        password = urlsplit(database_url).password
    except ValueError:
        return "the database URL is not valid"
    if password:
        for spelling in (password, unquote(password)):
            text = text.replace(spelling, "***")
    return text
