"""Cancellation of a call: its database statement is cancelled, and the pool loses no connection."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from interceptors.deadline.interceptor import remaining_s
from mesh.data.database import Database
from solo60.example.v1.echo_pb2 import EchoRequest
from tests.support.begun_calls import until_ended
from tests.support.echo_server import EchoServer, serve_echo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.echo_server import ServeEcho

__all__ = ["serve_echo"]

CONNECTIONS = 4
HI = EchoRequest(text="hi")
# The statement outlasts every wait of a test, so only a cancellation can end it in time.
TIMEOUT_S = 60
SLEEP = "select pg_sleep(600)"
ASLEEP = "select count(*) from pg_stat_activity where query = 'select pg_sleep(600)' and state = 'active'"


@pytest.fixture
async def database(empty_database_url: str) -> AsyncIterator[Database]:
    """Open a small pool with statements bounded by the deadline of the served call."""
    database = await Database.connect(empty_database_url, max_connections=CONNECTIONS, remaining_s=remaining_s)
    yield database
    await database.close()


@pytest.fixture
async def watching(empty_database_url: str) -> AsyncIterator[Database]:
    """Open a separate pool that observes the same server."""
    watching = await Database.connect(empty_database_url, max_connections=1)
    yield watching
    await watching.close()


@pytest.fixture
async def sleeper(serve_echo: ServeEcho, database: Database) -> EchoServer:
    """Serve an echo service with a handler that runs a statement of ten minutes."""
    echo = await serve_echo(deadline_factor=50.0)

    async def hook() -> None:
        async with database.transaction() as connection:
            await connection.execute(SLEEP)

    echo.servicer.hook = hook
    return echo


async def until(watching: Database, question: str, expected: int) -> None:
    """Wait until the query returns the expected number."""
    async with asyncio.timeout(TIMEOUT_S), watching.connection() as connection:
        while await connection.fetchval(question) != expected:
            pass


async def cancel_all(calls: list[Any]) -> None:
    """Cancel the calls and wait until all have ended."""
    for call in calls:
        call.cancel()
    ended = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(each) for each in ended} == {asyncio.CancelledError}


async def test_cancelling_a_call_cancels_its_statement(sleeper: EchoServer, watching: Database) -> None:
    """Cancelling a call on the client cancels its running statement in PostgreSQL."""
    stub = sleeper.stub()
    calls: list[Any] = [asyncio.ensure_future(_answer(stub.Echo(HI))) for _ in range(CONNECTIONS)]
    await until(watching, ASLEEP, CONNECTIONS)

    await cancel_all(calls)

    await until(watching, ASLEEP, 0)


async def test_an_exceeded_deadline_ends_the_statement(sleeper: EchoServer, watching: Database) -> None:
    """A call that exceeds its deadline fails with DeadlineExceeded, and its statement ends in PostgreSQL."""
    call = asyncio.ensure_future(_answer(sleeper.stub().Echo(HI, timeout=0.5)))

    outcome = await asyncio.gather(call, return_exceptions=True)

    assert [type(each).__name__ for each in outcome] == ["DeadlineExceeded"]
    await until(watching, ASLEEP, 0)


@pytest.mark.parametrize("rounds", [25, pytest.param(250, marks=pytest.mark.soak)])
async def test_many_cancelled_calls_leak_no_connection_and_no_task(
    sleeper: EchoServer, database: Database, watching: Database, rounds: int
) -> None:
    """Cancelling 100 calls (1,000 in the soak run) at varying points leaks no pool connection and no task."""
    stub = sleeper.stub()
    before = asyncio.all_tasks()
    for number in range(rounds):
        calls: list[Any] = [asyncio.ensure_future(_answer(stub.Echo(HI))) for _ in range(CONNECTIONS)]
        await asyncio.sleep(number % 25 / 1000)
        await cancel_all(calls)

    await until(watching, ASLEEP, 0)
    all_in_use = asyncio.Barrier(CONNECTIONS)
    async with asyncio.timeout(TIMEOUT_S):
        await asyncio.gather(*[_use(database, all_in_use) for _ in range(CONNECTIONS)])
    await sleeper.stop()
    await until_ended(asyncio.all_tasks() - before)


async def _answer(call: Any) -> Any:
    return await call


async def _use(database: Database, all_in_use: asyncio.Barrier) -> None:
    """Hold a connection until every connection of the pool is held."""
    async with database.transaction() as connection:
        assert await connection.fetchval("select 1") == 1
        await all_in_use.wait()
