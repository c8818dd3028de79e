"""PostgreSQL for tests: one server per session, and separate databases for each test.

Usage in any async test or fixture below `tests/`:

    async def test_a_member_is_stored(open_database: DatabaseOpener) -> None:
        database = await open_database("user")        # migrated from services/user/migrations

`database_url` returns only a URL; each call returns another database. After the test its databases are reset to the
rows of their migrations and reused, because deleting rows takes 10 ms and creating a database 200 ms. The reset ends
open connections but restores neither tables nor the record of migrations, so a test must undo its changes to those.
`mesh_database_url` is a database with the tables of the mesh alone, and `empty_database_url` one without tables. Both
are dropped after the test, so a test may create tables in them. `postgres` is the server, for tests of its maintenance
database (`postgres.url`). Do not stop that server: a test that kills one starts an `EmbeddedPostgres` in
`reachable_folder`. These URLs connect as the services' role; `superuser_url_of` returns the URL for the superuser.

Every invariant of a database must hold at its reset. A test that breaks one on purpose and leaves it broken is marked
`@pytest.mark.breaks_invariants("violation_sum_not_zero")`.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from local.postgres.role import SERVICE_ROLE, SUPERUSER
from local.postgres.server import EmbeddedPostgres
from mesh.data.database import Database
from mesh.data.database_probe import CONNECTION_ERRORS
from mesh.data.integrity import find_broken_invariants
from mesh.data.migrations import MESH_MIGRATIONS, migrate
from mesh.data.time_limits import SessionTimeouts
from tests.support.folders import folder_for_all

DatabaseFactory: TypeAlias = Callable[[str], Awaitable[str]]
DatabaseOpener: TypeAlias = Callable[[str], Awaitable[Database]]

SERVICES = Path(__file__).parents[2] / "services"
TABLES = """
    select tablename from pg_tables
    where schemaname = 'public' and tablename not in ('schema_migrations', 'mesh_migration_checksums')
"""
SEQUENCES = "select sequencename, coalesce(last_value, start_value), last_value is not null from pg_sequences"
END_OTHERS = """
    select pg_terminate_backend(pid, 5000)
    from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid()
"""


@dataclass(frozen=True, slots=True)
class Contents:
    """Rows and sequence values of a database."""

    rows: dict[str, bytes]
    sequences: list[tuple[str, int, bool]]

    @classmethod
    async def of(cls, url: str) -> Contents:
        """Read the contents of the database at `url`."""
        async with connection_to(url) as connection:
            tables = [name for (name,) in await connection.fetch(TABLES)]
            return cls(
                {table: await _copy_of(connection, table) for table in tables},
                [tuple(row) for row in await connection.fetch(SEQUENCES)],
            )

    async def restore(self, superuser: asyncpg.Connection[asyncpg.Record]) -> None:
        """Replace all rows and sequence values of a database with the same tables."""
        await superuser.execute(
            "; ".join(
                (
                    # Disables triggers, because the ledger's triggers forbid changes.
                    "set session_replication_role = replica",
                    *(f"delete from {table}" for table in self.rows),  # noqa: S608 - the database's own names
                    *(f"select setval('{name}', {at}, {is_used})" for name, at, is_used in self.sequences),
                )
            )
        )
        for table, rows in self.rows.items():
            if rows:
                await superuser.copy_to_table(table, source=BytesIO(rows))


class PostgresForTests:
    """Running server with a pool of migrated databases.

    The superuser's connections stay open in a separate event loop, which outlives the tests' loops, because connecting
    takes longer than the reset of a database.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._loop = asyncio.new_event_loop()
        self._superusers: dict[str, asyncpg.Connection[asyncpg.Record]] = {}
        self._templates: dict[Path, tuple[str, Contents]] = {}
        self._idle: defaultdict[Path, list[str]] = defaultdict(list)
        self._numbers = count(1)

    async def acquire(self, migrations: Path) -> str:
        """Return the URL of an unused database with these migrations applied."""
        if self._idle[migrations]:
            return self._idle[migrations].pop()
        return await self.create_migrated(migrations)

    def release(self, *acquired: tuple[Path, str]) -> set[str]:
        """Release databases, given by migrations and URL, and return their broken invariants.

        End all other connections to the databases and reset their contents. No event loop may run in this thread.
        """
        return self._loop.run_until_complete(self._release_all(acquired))

    def close(self) -> None:
        """Close the superuser's connections."""
        for connection in self._superusers.values():
            connection.terminate()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def create(self, template: str = "template1") -> str:
        """Create a database and return its URL."""
        name = f"test_{next(self._numbers)}"
        await self._execute(f"create database {name} template {template}")
        return self._url_of(name)

    async def create_migrated(self, migrations: Path) -> str:
        """Create a database with these migrations applied, and return its URL."""
        template, _ = await self._template(migrations)
        return await self.create(template)

    async def drop(self, url: str) -> None:
        """Drop a database that `create` or `create_migrated` returned, even if it has open connections."""
        name = urlsplit(url).path.removeprefix("/")
        # Only the superuser may end a connection of autovacuum, which is a superuser's process.
        async with connection_to(superuser_url_of(self.url)) as connection:
            await connection.execute(f"drop database {name} with (force)")

    async def _release_all(self, acquired: Iterable[tuple[Path, str]]) -> set[str]:
        return set().union(*await asyncio.gather(*(self._release(*each) for each in acquired)))

    async def _release(self, migrations: Path, url: str) -> set[str]:
        _, contents = await self._template(migrations)
        connection = await self._exclusive_connection(url)
        broken = {violation.view for violation in await find_broken_invariants(connection)}
        await contents.restore(connection)
        self._idle[migrations].append(url)
        return broken

    async def _exclusive_connection(self, url: str) -> asyncpg.Connection[asyncpg.Record]:
        """End all other connections to a database and return the superuser's connection."""
        if url in self._superusers:
            # A test may have ended this connection; then a new one is opened below.
            with suppress(*CONNECTION_ERRORS):
                await self._superusers[url].execute(END_OTHERS)
                return self._superusers[url]
        connection = self._superusers[url] = await asyncpg.connect(superuser_url_of(url))
        await connection.execute(END_OTHERS)
        return connection

    async def _template(self, migrations: Path) -> tuple[str, Contents]:
        if migrations not in self._templates:
            name = f"template_{next(self._numbers)}"
            await migrate(self._url_of(name), migrations)
            self._templates[migrations] = (name, await Contents.of(self._url_of(name)))
        return self._templates[migrations]

    async def _execute(self, statement: str) -> None:
        async with connection_to(self.url) as connection:
            await connection.execute(statement)

    def _url_of(self, name: str) -> str:
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))


def superuser_url_of(url: str) -> str:
    """Return the superuser's URL of the same database, for statements that the services' role may not execute."""
    return url.replace(f"//{SERVICE_ROLE}@", f"//{SUPERUSER}@", 1)


async def lazy_database(url: str) -> Database:
    """Return a database that connects at its first use."""
    pool = await asyncpg.create_pool(url, min_size=0, max_size=2)
    return Database(pool, pool, SessionTimeouts(), lambda: None)


@asynccontextmanager
async def connection_to(url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """Open a plain asyncpg connection within the context."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def execute(url: str, *statements: str) -> None:
    """Execute statements on a new connection."""
    async with connection_to(url) as connection:
        for statement in statements:
            await connection.execute(statement)


async def _copy_of(connection: asyncpg.Connection[asyncpg.Record], table: str) -> bytes:
    rows = BytesIO()
    await connection.copy_from_table(table, output=rows)
    return rows.getvalue()


@pytest.fixture
def reachable_folder() -> Iterator[Path]:
    """Make a temporary folder that root's PostgreSQL can enter."""
    with folder_for_all() as folder:
        yield folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresForTests]:
    """Start the session's server; stop and erase it at the end of the session."""
    with folder_for_all() as folder:
        server = EmbeddedPostgres(folder / "data", durable=False)
        asyncio.run(server.start())
        pool = PostgresForTests(server.url)
        try:
            yield pool
        finally:
            pool.close()
            asyncio.run(server.stop())


@contextmanager
def acquiring(
    postgres: PostgresForTests, on_purpose: AbstractSet[str] = frozenset()
) -> Iterator[list[tuple[Path, str]]]:
    """Yield a list for acquired databases, as pairs of migrations and URL; release them at the end of the context.

    Fail if their broken invariants are not those in `on_purpose`.
    """
    acquired: list[tuple[Path, str]] = []
    yield acquired
    found = postgres.release(*acquired)
    assert found == on_purpose, f"broken invariants: {sorted(found)}; expected from the marker: {sorted(on_purpose)}"


@pytest.fixture
def acquired_databases(postgres: PostgresForTests, request: pytest.FixtureRequest) -> Iterator[list[tuple[Path, str]]]:
    """Collect the databases acquired by one test, and release them after it."""
    with acquiring(
        postgres, {view for mark in request.node.iter_markers("breaks_invariants") for view in mark.args}
    ) as acquired:
        yield acquired


@pytest.fixture(scope="module")
def databases_of_module(postgres: PostgresForTests) -> Iterator[list[tuple[Path, str]]]:
    """Collect the databases acquired by a module, and release them after it."""
    with acquiring(postgres) as acquired:
        yield acquired


@pytest.fixture
async def database_url(postgres: PostgresForTests, acquired_databases: list[tuple[Path, str]]) -> DatabaseFactory:
    """Return a function that acquires a freshly migrated database of a service by name, another one in each call."""

    async def acquire(service: str) -> str:
        migrations = SERVICES / service / "migrations"
        url = await postgres.acquire(migrations)
        acquired_databases.append((migrations, url))
        return url

    return acquire


@pytest.fixture
async def open_database(database_url: DatabaseFactory) -> AsyncIterator[DatabaseOpener]:
    """Return a function that opens a new database of a service by name. The databases are closed after the test."""
    async with AsyncExitStack() as stack:

        async def connect(service: str) -> Database:
            database = await Database.connect(await database_url(service))
            stack.push_async_callback(database.close)
            return database

        yield connect


@pytest.fixture
async def empty_database_url(postgres: PostgresForTests) -> AsyncIterator[str]:
    """Create a database without tables; drop it after the test."""
    url = await postgres.create()
    yield url
    await postgres.drop(url)


@pytest.fixture
async def mesh_database_url(postgres: PostgresForTests) -> AsyncIterator[str]:
    """Create a database with the tables of the mesh; drop it after the test."""
    url = await postgres.create_migrated(MESH_MIGRATIONS)
    yield url
    await postgres.drop(url)
