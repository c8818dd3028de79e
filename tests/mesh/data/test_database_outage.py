"""Outages of the database server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psutil
import pytest

from local.postgres.server import EmbeddedPostgres
from mesh.data.database import Database, DatabaseUnavailable
from tests.support.postgres import connection_to, superuser_url_of
from tests.support.suspension import suspended
from tests.support.tcp_proxy import proxied

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_connection_that_the_server_terminated_is_unavailable(empty_database_url: str) -> None:
    """A call on a connection that the server has just terminated raises DatabaseUnavailable.

    The next call gets a new connection.
    """
    async with proxied(empty_database_url, hangs=True) as (_, url):
        database = await Database.connect(url, max_connections=1)
        async with database.connection() as connection:
            pid = connection.get_server_pid()
        await terminate_connection(empty_database_url, pid)

        with pytest.raises(DatabaseUnavailable):
            async with database.transaction():
                pass

        async with database.connection() as connection:
            assert connection.get_server_pid() != pid
            await terminate_connection(empty_database_url, connection.get_server_pid())
        await database.close()


async def terminate_connection(url: str, pid: int) -> None:
    """Make the server terminate a connection, and wait until its last message has arrived."""
    async with connection_to(superuser_url_of(url)) as connection:
        assert await connection.fetchval("select pg_terminate_backend($1, 5000)", pid)
    await asyncio.sleep(0.1)


async def test_an_unreachable_server_is_unavailable() -> None:
    """Connecting to an unreachable server raises DatabaseUnavailable without the password in its message."""
    with pytest.raises(DatabaseUnavailable, match="cannot be reached") as refused:
        await Database.connect("postgresql://postgres:s3cret@127.0.0.1:1/postgres")
    assert "s3cret" not in str(refused.value)


async def test_a_database_that_does_not_exist_is_unavailable(empty_database_url: str) -> None:
    """Connecting to a missing database raises DatabaseUnavailable with the server's own message."""
    with pytest.raises(DatabaseUnavailable, match='"nowhere" does not exist'):
        await Database.connect(urlsplit(empty_database_url)._replace(path="/nowhere").geturl())


async def test_calls_recover_from_an_outage(reachable_folder: Path) -> None:
    """While the server is down, calls raise DatabaseUnavailable. Afterwards the same pool serves again."""
    data_dir = reachable_folder / "data"
    server = EmbeddedPostgres(data_dir, durable=False)
    await server.start()
    port = urlsplit(server.url).port or 0
    database = await Database.connect(server.url, max_connections=2)
    assert await database.is_reachable(5)

    async def slow() -> None:
        async with database.transaction() as connection:
            await connection.execute("select pg_sleep(60)")

    async def idle() -> None:
        async with database.transaction() as connection:
            await server.stop()
            await connection.execute("select 1")

    outcomes = await asyncio.gather(slow(), idle(), return_exceptions=True)
    assert [str(outcome).partition(":")[0] for outcome in outcomes] == ["the connection to the database is lost"] * 2
    assert {type(outcome) for outcome in outcomes} == {DatabaseUnavailable}
    with pytest.raises(DatabaseUnavailable, match="cannot be reached"):
        async with database.transaction():
            pass
    assert not await database.is_reachable(5)
    assert database.troubles() == ["its database cannot be reached (Connection refused)"]

    async with EmbeddedPostgres(data_dir, port=port, durable=False):
        assert await database.is_reachable(5)
        async with database.transaction() as connection:
            assert await connection.fetchval("select 1") == 1
        await database.close()


async def test_a_server_that_never_answers_is_not_reachable(reachable_folder: Path) -> None:
    """A server that accepts connections and never answers is reported as unreachable after the probe's timeout."""
    data_dir = reachable_folder / "data"
    async with EmbeddedPostgres(data_dir, durable=False) as server:
        database = await Database.connect(server.url, max_connections=2)
        assert await database.is_reachable(5)
        postmaster = psutil.Process(int((data_dir / "cluster" / "postmaster.pid").read_text().splitlines()[0]))
        with suspended(postmaster):
            for _ in range(2):
                async with asyncio.timeout(10):
                    assert not await database.is_reachable(0.1)
            assert database.troubles() == ["its database does not answer within 0.1 s"]
        assert await database.is_reachable(5)
        assert database.troubles() == []
        await database.close()
