"""PostgreSQL for tests: one real server for the session, and for each test a database of its own.

How to use it, in any async test or fixture below `tests/`:

    async def test_a_member_is_kept(database_url: DatabaseFactory) -> None:
        url = await database_url("user")              # migrated from services/user/migrations
        database = await Database.connect(url)
        ...
        await database.close()

`database_url` migrates a template once per session and service and clones it for each call, in about 50 ms; two calls
give two databases. They are dropped after the test, also with connections still open. `empty_database_url` is one
database without any table. `postgres` is the server itself, for what needs its maintenance database (`postgres.url`).
Do not stop it: a test that kills a server starts its own `EmbeddedPostgres` in `reachable_folder`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from mesh.migrations import migrate
from mesh.postgres import EmbeddedPostgres
from tests.support.folders import folder_for_all

DatabaseFactory: TypeAlias = Callable[[str], Awaitable[str]]

SERVICES = Path(__file__).parents[2] / "services"


class PostgresForTests:
    """A running server that makes databases and drops them; it keeps no connection and no event loop."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._templates: dict[Path, str] = {}
        self._numbers = count(1)

    async def create(self, migrations: Path | None = None) -> str:
        """Create a database with these migrations applied, or an empty one, and return its URL."""
        template = "template1" if migrations is None else await self._template(migrations)
        name = f"test_{next(self._numbers)}"
        await self._execute(f"create database {name} template {template}")
        return self._url_of(name)

    async def drop(self, url: str) -> None:
        """Drop a database that `create` made, whoever is still connected."""
        await self._execute(f"drop database {urlsplit(url).path.removeprefix('/')} with (force)")

    async def _template(self, migrations: Path) -> str:
        if migrations not in self._templates:
            name = f"template_{next(self._numbers)}"
            await migrate(self._url_of(name), migrations)
            self._templates[migrations] = name
        return self._templates[migrations]

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def _url_of(self, name: str) -> str:
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))


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
        try:
            yield PostgresForTests(server.url)
        finally:
            asyncio.run(server.stop())


@pytest.fixture
async def database_url(postgres: PostgresForTests) -> AsyncIterator[DatabaseFactory]:
    """Make databases for services by name, each call a fresh one; drop them after the test."""
    urls: list[str] = []

    async def create(service: str) -> str:
        urls.append(await postgres.create(SERVICES / service / "migrations"))
        return urls[-1]

    yield create
    for url in urls:
        await postgres.drop(url)


@pytest.fixture
async def empty_database_url(postgres: PostgresForTests) -> AsyncIterator[str]:
    """One database without any table, dropped after the test."""
    url = await postgres.create()
    yield url
    await postgres.drop(url)
