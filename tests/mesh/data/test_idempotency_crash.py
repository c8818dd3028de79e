from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest

from interceptors.context import detached_work
from mesh.data.database import IDLE_IN_TRANSACTION_TIMEOUT_S, Database
from mesh.transaction import Transaction
from solo60.gym.v1.gym_pb2 import CreateGymResponse
from tests.support import keyed_caller
from tests.support.keyed_caller import POINTS, REQUEST, TABLE
from tests.support.processes import receive, started

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NEVER_MS = 0


@pytest.fixture
async def database(mesh_database_url: str) -> AsyncIterator[Database]:
    """Make a database with a table that counts effects."""
    database = await Database.connect(mesh_database_url)
    async with database.transaction() as connection:
        await connection.execute(TABLE)
    yield database
    await database.close()


async def called(database: Database, key: str) -> bytes:
    """Make the same call as the process does; return the serialized answer."""
    with detached_work() as context:
        context.caller, context.idempotency_key = "session", key
        async with Transaction.begin(database) as tx:
            response = await tx.once(REQUEST, CreateGymResponse, partial(keyed_caller.act, tx))
    return response.SerializeToString(deterministic=True)


async def effects(database: Database) -> list[int]:
    """Return the numbers of all effects."""
    async with database.connection() as connection:
        return [number for (number,) in await connection.fetch("select number from effects order by number")]


@pytest.mark.parametrize("times", [2, pytest.param(40, marks=pytest.mark.soak)])
@pytest.mark.parametrize("point", POINTS)
async def test_a_call_killed_at_any_point_acts_once_when_repeated(
    database: Database, mesh_database_url: str, point: str, times: int
) -> None:
    """A call that is killed at any point acts once when it is repeated, with the same answer each time."""
    before: list[int] = []
    for n in range(times):
        with started(keyed_caller.run, mesh_database_url, f"key-{n}", point, NEVER_MS) as (process, pipe):
            assert await receive(pipe) == f"at {point}"
            process.kill()
            answers = [await called(database, f"key-{n}") for _ in range(2)]

        (effect,) = set(await effects(database)) - set(before)
        before.append(effect)
        assert [CreateGymResponse.FromString(answer).gym.name for answer in answers] == [f"effect {effect}"] * 2
        assert answers[0] == answers[1]


async def test_a_repetition_returns_the_lost_answer(database: Database, mesh_database_url: str) -> None:
    """A repetition of a call returns the same bytes as the first answer and has no further effect."""
    with started(keyed_caller.run, mesh_database_url, "key", "nowhere", NEVER_MS) as (_, pipe):
        first = await receive(pipe)

    assert await called(database, "key") == first
    assert len(await effects(database)) == 1


@pytest.mark.parametrize("point", ["after insert", "after effect"])
async def test_a_hanging_call_loses_its_key_and_cannot_commit(
    database: Database, mesh_database_url: str, point: str
) -> None:
    """The server ends the transaction of a hanging call.

    A repetition then acts, and the hanging call raises DatabaseUnavailable when it continues.
    """
    with started(keyed_caller.run, mesh_database_url, "key", point, 200) as (_, pipe):
        assert await receive(pipe) == f"at {point}"
        answer = await called(database, "key")
        pipe.send("go on")
        assert await receive(pipe) == "DatabaseUnavailable"

    (effect,) = await effects(database)
    assert CreateGymResponse.FromString(answer).gym.name == f"effect {effect}"
    assert await called(database, "key") == answer


async def test_idle_transactions_end_after_half_a_minute(database: Database) -> None:
    """The server ends an idle transaction after 30 s, so that a hanging process cannot block a key longer."""
    async with database.transaction() as connection:
        lease = await connection.fetchval("select current_setting('idle_in_transaction_session_timeout')::interval")

    assert lease.total_seconds() == IDLE_IN_TRANSACTION_TIMEOUT_S == 30


@pytest.mark.parametrize("rounds", [3, pytest.param(500, marks=pytest.mark.soak)])
async def test_a_hundred_concurrent_calls_with_one_key_act_once(
    mesh_database_url: str, database: Database, rounds: int
) -> None:
    """Of 100 concurrent calls with one key, one acts and all get its answer."""
    crowd = await Database.connect(mesh_database_url, max_connections=50, remaining_s=lambda: 300.0)
    for n in range(rounds):
        answers = await asyncio.gather(*[called(crowd, f"key-{n}") for _ in range(100)])
        assert len(set(answers)) == 1
    await crowd.close()

    assert len(await effects(database)) == rounds
