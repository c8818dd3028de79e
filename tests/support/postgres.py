"""PostgreSQL for tests: one real server for the session, and for each test databases of its own.

How to use it, in any async test or fixture below `tests/`:

    async def test_a_member_is_kept(open_database: DatabaseOpener) -> None:
        database = await open_database("user")        # migrated from services/user/migrations

`database_url` gives the URL alone; two calls give two databases. After the test both are given back, whoever is still
connected, and lent again with the rows that the migrations made and no others: to delete rows takes 10 ms, to make a
database 200. So a test that changes tables, or what is noted of migrations, changes them back. `empty_database_url` is
one database without any table. `postgres` is the server itself, for what needs its maintenance database
(`postgres.url`). Do not stop it: a test that kills a server starts its own `EmbeddedPostgres` in `reachable_folder`.
Whoever connects by these URLs is the role that services have; `superuser_url_of` turns one into the superuser's.

When a database is given back, every invariant that it states must hold (T-h1). A test that breaks one on purpose, and
leaves it broken, says so: `@pytest.mark.breaks_invariants("violation_sum_not_zero")`.
"""

from __future__ import annotations

import asyncio
import random
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

from mesh.database import Database
from mesh.database_probe import CONNECTION_ERRORS
from mesh.examination import find_violations
from mesh.migrations import migrate
from mesh.postgres import EmbeddedPostgres
from mesh.postgres_role import SERVICE_ROLE, SUPERUSER
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
    """The rows in the tables of a database, and where its sequences stand."""

    rows: dict[str, bytes]
    sequences: list[tuple[str, int, bool]]

    @classmethod
    async def of(cls, url: str) -> Contents:
        """Read them."""
        async with connection_to(url) as connection:
            tables = [name for (name,) in await connection.fetch(TABLES)]
            return cls(
                {table: await _copy_of(connection, table) for table in tables},
                [tuple(row) for row in await connection.fetch(SEQUENCES)],
            )

    async def restore(self, superuser: asyncpg.Connection[asyncpg.Record]) -> None:
        """Give a database that has the same tables these rows and no others."""
        await superuser.execute(
            "; ".join(
                (
                    # The ledger's own guards forbid this to everyone else.
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
    """A running server that lends databases.

    The superuser's connections are kept, in an event loop of their own, which no test's end closes: to connect costs
    more than all that is done when a database is given back.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._loop = asyncio.new_event_loop()
        self._superusers: dict[str, asyncpg.Connection[asyncpg.Record]] = {}
        self._templates: dict[Path, tuple[str, Contents]] = {}
        self._idle: defaultdict[Path, list[str]] = defaultdict(list)
        self._numbers = count(1)

    async def lend(self, migrations: Path) -> str:
        """Return the URL of a database with these migrations applied, that nobody else has now."""
        if self._idle[migrations]:
            return self._idle[migrations].pop()
        template, _ = await self._template(migrations)
        return await self.create(template)

    def give_back(self, *lent: tuple[Path, str]) -> set[str]:
        """Take back databases that were lent, by migrations and URL, and return which of their invariants are broken.

        All other connections to them are ended, and they are as `lend` gave them. No event loop may run in this thread.
        """
        return self._loop.run_until_complete(self._take_back(lent))

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

    async def drop(self, url: str) -> None:
        """Drop a database that `create` made, whoever is still connected."""
        name = urlsplit(url).path.removeprefix("/")
        # Autovacuum may be in it, which belongs to the superuser.
        async with connection_to(superuser_url_of(self.url)) as connection:
            await connection.execute(f"drop database {name} with (force)")

    async def _take_back(self, lent: Iterable[tuple[Path, str]]) -> set[str]:
        return set().union(*await asyncio.gather(*(self._take_one_back(*each) for each in lent)))

    async def _take_one_back(self, migrations: Path, url: str) -> set[str]:
        _, contents = await self._template(migrations)
        connection = await self._alone(url)
        broken = {violation.view for violation in await find_violations(connection)}
        await contents.restore(connection)
        self._idle[migrations].append(url)
        return broken

    async def _alone(self, url: str) -> asyncpg.Connection[asyncpg.Record]:
        """Return the superuser's connection to a database after it has ended all others."""
        if url in self._superusers:
            # A test may have ended it.
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
    """Return the URL of the same database for the superuser: to break what services cannot."""
    return url.replace(f"//{SERVICE_ROLE}@", f"//{SUPERUSER}@", 1)


async def lazy_database(url: str) -> Database:
    """Return a database to which nothing is connected until it is used."""
    pool = await asyncpg.create_pool(url, min_size=0, max_size=2)
    return Database(pool, pool, lambda: None, random.SystemRandom())


@asynccontextmanager
async def connection_to(url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """Open a connection for the time of the context, with nothing between it and the server."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def _copy_of(connection: asyncpg.Connection[asyncpg.Record], table: str) -> bytes:
    rows = BytesIO()
    await connection.copy_from_table(table, output=rows)
    return rows.getvalue()


@pytest.fixture
def reachable_folder() -> Iterator[Path]:
    """Make a temporary folder in which root's PostgreSQL stays."""
    with folder_for_all() as folder:
        yield folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresForTests]:
    """Start the session's server; stop and erase it at its end."""
    with folder_for_all() as folder:
        server = EmbeddedPostgres(folder / "data", durable=False)
        asyncio.run(server.start())
        lender = PostgresForTests(server.url)
        try:
            yield lender
        finally:
            lender.close()
            asyncio.run(server.stop())


@contextmanager
def lending(postgres: PostgresForTests, on_purpose: AbstractSet[str] = frozenset()) -> Iterator[list[tuple[Path, str]]]:
    """Yield a list for databases, by migrations and URL, that are taken back at the end of the context; T-h1."""
    lent: list[tuple[Path, str]] = []
    yield lent
    found = postgres.give_back(*lent)
    assert found == on_purpose, f"invariants that do not hold: {sorted(found)}; broken on purpose: {sorted(on_purpose)}"


@pytest.fixture
def lent_databases(postgres: PostgresForTests, request: pytest.FixtureRequest) -> Iterator[list[tuple[Path, str]]]:
    """Hold the databases that one test has, and take them back."""
    with lending(
        postgres, {view for mark in request.node.iter_markers("breaks_invariants") for view in mark.args}
    ) as lent:
        yield lent


@pytest.fixture(scope="module")
def databases_of_module(postgres: PostgresForTests) -> Iterator[list[tuple[Path, str]]]:
    """Hold the databases that the tests of a module share, and take them back."""
    with lending(postgres) as lent:
        yield lent


@pytest.fixture
async def database_url(postgres: PostgresForTests, lent_databases: list[tuple[Path, str]]) -> DatabaseFactory:
    """Lend databases of services by name, each call another one, as their migrations leave them."""

    async def lend(service: str) -> str:
        migrations = SERVICES / service / "migrations"
        url = await postgres.lend(migrations)
        lent_databases.append((migrations, url))
        return url

    return lend


@pytest.fixture
async def open_database(database_url: DatabaseFactory) -> AsyncIterator[DatabaseOpener]:
    """Connect to databases of services by name, that no service runs on; close them after the test."""
    async with AsyncExitStack() as stack:

        async def connect(service: str) -> Database:
            database = await Database.connect(await database_url(service))
            stack.push_async_callback(database.close)
            return database

        yield connect


@pytest.fixture
async def empty_database_url(postgres: PostgresForTests) -> AsyncIterator[str]:
    """One database without any table, dropped after the test."""
    url = await postgres.create()
    yield url
    await postgres.drop(url)
