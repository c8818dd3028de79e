from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from contracts.errors import IdempotencyKeyMissing, IdempotencyKeyReused, RequestInProgress
from interceptors.context import detached_work
from mesh.clock import MovableClock
from mesh.data.database import Database
from mesh.data.deletion import BATCH_SIZE
from mesh.data.idempotency import (
    RETENTION,
    delete_old_keys,
    deleting_old_keys,
    fingerprint_of,
)
from mesh.transaction import Transaction
from solo60.common.v1.money_pb2 import Money
from solo60.communication.v1.communication_pb2 import SendEmailAsyncRequest
from solo60.gym.v1.gym_pb2 import CreateGymRequest, CreateGymResponse, GetGymRequest
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from google.protobuf.message import Message

REQUEST = CreateGymRequest(name="Field Street Gym")


@pytest.fixture
def clock() -> MovableClock:
    """Make the clock of the database."""
    return MovableClock()


@pytest.fixture
async def database(mesh_database_url: str, clock: MovableClock) -> AsyncIterator[Database]:
    """Make a database with a table that counts effects."""
    database = await Database.connect(mesh_database_url, clock=clock)
    async with database.transaction() as connection:
        await connection.execute("create table effects (number bigint generated always as identity)")
    yield database
    await database.close()


@asynccontextmanager
async def calling(database: Database, key: str = "key-1", caller: str = "session") -> AsyncIterator[Transaction]:
    """Serve a call with this key in its own transaction."""
    with detached_work() as context:
        context.caller, context.idempotency_key = caller, key
        async with Transaction.begin(database) as tx:
            yield tx


async def act(tx: Transaction, request: Message = REQUEST) -> str:
    """Act once; return the name in the answer, which identifies the effect."""

    async def respond() -> CreateGymResponse:
        number = await tx.connection.fetchval("insert into effects default values returning number")
        response = CreateGymResponse()
        response.gym.name = f"effect {number}"
        return response

    return (await tx.once(request, CreateGymResponse, respond)).gym.name


async def effects(database: Database) -> int:
    """Count the effects."""
    async with database.connection() as connection:
        return int(await connection.fetchval("select count(*) from effects"))


@pytest.mark.requirement("S6")
async def test_a_repetition_gets_the_first_answer_and_has_no_effect(database: Database) -> None:
    """A repeated request with the same key gets the first answer and has no further effect."""
    async with calling(database) as tx:
        first = await act(tx)
    async with calling(database) as tx:
        second = await act(tx)

    assert (first, second) == ("effect 1", "effect 1")
    assert await effects(database) == 1


async def test_a_key_reused_for_another_request_is_rejected(database: Database) -> None:
    """Reusing a key for another request raises IdempotencyKeyReused and has no effect."""
    async with calling(database) as tx:
        await act(tx)

    with pytest.raises(IdempotencyKeyReused):
        async with calling(database) as tx:
            await act(tx, CreateGymRequest(name="Another Gym"))

    assert await effects(database) == 1


@pytest.mark.requirement("S6")
@pytest.mark.parametrize(("key", "caller"), [("key-2", "session"), ("key-1", "cli")])
async def test_another_key_or_another_caller_acts_again(database: Database, key: str, caller: str) -> None:
    """A request acts again with another key or for another caller."""
    async with calling(database) as tx:
        await act(tx)
    async with calling(database, key, caller) as tx:
        assert await act(tx) == "effect 2"


@pytest.mark.requirement("S6")
async def test_each_method_has_its_own_keys(database: Database) -> None:
    """One key, such as the id of a booking, may be used once for each method."""
    async with calling(database) as tx:
        await act(tx)
    async with calling(database) as tx:
        assert await act(tx, GetGymRequest()) == "effect 2"


@pytest.mark.requirement("S6")
async def test_a_failure_leaves_the_key_free(database: Database) -> None:
    """A failed call leaves its key free, so that a repetition acts."""

    async def fail() -> CreateGymResponse:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with calling(database) as tx:
            await tx.once(REQUEST, CreateGymResponse, fail)

    async with calling(database) as tx:
        await act(tx)
    assert await effects(database) == 1


async def test_a_caught_failure_leaves_the_key_free(database: Database) -> None:
    """A transaction in which the work of `once` failed is rolled back, even if its exception was caught inside."""

    async def fail() -> CreateGymResponse:
        raise ZeroDivisionError

    with pytest.raises(RuntimeError, match="the work of `once` has failed"):  # noqa: PT012 - raised at the end of the block
        async with calling(database) as tx:
            with suppress(ZeroDivisionError):
                await tx.once(REQUEST, CreateGymResponse, fail)

    async with calling(database) as tx:
        await act(tx)
    assert await effects(database) == 1


async def test_a_repetition_that_waits_too_long_is_rejected(database: Database) -> None:
    """A repetition that waits too long for the first call raises RequestInProgress."""
    async with calling(database) as tx:
        await act(tx)

        with pytest.raises(RequestInProgress):  # noqa: PT012 - the exception has to end the transaction too
            async with calling(database) as impatient:
                await impatient.connection.execute("set local lock_timeout = '50ms'")
                await act(impatient)


@pytest.mark.requirement("S6")
async def test_without_a_key_there_is_no_effect(database: Database) -> None:
    """Without a call that carries a key, `once` raises IdempotencyKeyMissing and has no effect."""
    with pytest.raises(IdempotencyKeyMissing):
        async with Transaction.begin(database) as tx:
            await act(tx)
    with pytest.raises(IdempotencyKeyMissing):
        async with calling(database, key="") as tx:
            await act(tx)

    assert await effects(database) == 0


async def test_a_key_without_a_response_is_an_error(database: Database) -> None:
    """A stored key without a response, which no transaction leaves behind, raises LookupError and has no effect."""
    async with calling(database) as tx:
        await act(tx)
        await tx.connection.execute("update idempotency_keys set response = null")

    with pytest.raises(LookupError, match="key has no response"):
        async with calling(database) as tx:
            await act(tx)

    assert await effects(database) == 1


@pytest.mark.requirement("S4")
async def test_only_a_fingerprint_of_the_request_is_stored(database: Database) -> None:
    """Only the 32-byte fingerprint of a request is stored, because a request may hold personal data."""
    async with calling(database) as tx:
        await act(tx)

    async with database.connection() as connection:
        row = await connection.fetchrow("select * from idempotency_keys")
    assert row is not None
    assert len(row["request_sha256"]) == 32
    assert REQUEST.name.encode() not in row["request_sha256"] + row["response"]


VARIABLES = [(f"name-{n}", f"value {n}") for n in range(50)]
FINGERPRINT_ELSEWHERE = """
from mesh.data.idempotency import fingerprint_of
from solo60.communication.v1.communication_pb2 import SendEmailAsyncRequest
print(fingerprint_of(SendEmailAsyncRequest(variables={f"name-{n}": f"value {n}" for n in reversed(range(50))})).hex())
"""


def test_the_order_of_a_map_does_not_change_the_fingerprint() -> None:
    """The fingerprint of a request depends neither on the order of its map entries nor on the process."""
    forward = SendEmailAsyncRequest(variables=dict(VARIABLES))
    backward = SendEmailAsyncRequest(variables=dict(reversed(VARIABLES)))
    elsewhere = subprocess.run(
        [sys.executable, "-c", FINGERPRINT_ELSEWHERE], check=True, capture_output=True, text=True
    ).stdout.strip()

    assert fingerprint_of(forward) == fingerprint_of(backward) == bytes.fromhex(elsewhere)


def test_an_explicit_default_does_not_change_the_fingerprint() -> None:
    """A field without presence that is set to its default does not change the fingerprint.

    A present but empty message does.
    """
    assert fingerprint_of(CreateGymRequest(name="x", noise_policy="")) == fingerprint_of(CreateGymRequest(name="x"))
    assert fingerprint_of(CreateGymRequest(name="x", price_per_hour=Money())) != fingerprint_of(
        CreateGymRequest(name="x")
    )


def test_unknown_fields_are_part_of_the_fingerprint() -> None:
    """Fields unknown to this build are part of the fingerprint.

    Requests that differ only in such a field are distinct.
    """
    known = REQUEST.SerializeToString()
    newer = [CreateGymRequest.FromString(known + bytes([0xF8, 0x7F, value])) for value in (1, 2)]  # field 2047

    assert len({fingerprint_of(request) for request in (REQUEST, *newer)}) == 3
    assert fingerprint_of(newer[0]) == fingerprint_of(CreateGymRequest.FromString(newer[0].SerializeToString()))


async def insert_keys(database: Database, *, age: timedelta, count: int) -> None:
    """Insert `count` keys of calls that were made `age` ago."""
    async with database.connection() as connection:
        await connection.execute(
            """
            insert into idempotency_keys (caller, request_type, key, request_sha256, response, create_time)
            select 'session', 'test', $1 || n::text, '', '', now() - $2::interval from generate_series(1, $3) n
            """,
            str(age),
            age,
            count,
        )


async def test_keys_are_deleted_after_a_week_and_not_before(database: Database) -> None:
    """Keys older than a week are deleted, even if they fill more than one batch. Younger keys are not deleted."""
    await insert_keys(database, age=RETENTION + timedelta(minutes=1), count=2 * BATCH_SIZE + 1)
    await insert_keys(database, age=RETENTION - timedelta(minutes=1), count=3)

    assert await delete_old_keys(database) == 2 * BATCH_SIZE + 1

    async with database.connection() as connection:
        assert await connection.fetchval("select count(*) from idempotency_keys") == 3


async def test_deleting_old_keys_skips_locked_ones(database: Database) -> None:
    """Deleting old keys skips locked keys instead of waiting for them."""
    await insert_keys(database, age=2 * RETENTION, count=2)

    async with database.transaction() as connection:
        await connection.execute("select from idempotency_keys where key like '%1' for update")
        assert await delete_old_keys(database) == 1


async def test_keys_expire_by_the_clock(database: Database, clock: MovableClock) -> None:
    """A key expires when the clock has moved by a week."""
    clock.advance(timedelta(days=30))
    async with calling(database) as tx:
        await act(tx)

    clock.advance(RETENTION - timedelta(minutes=1))
    assert await delete_old_keys(database) == 0
    clock.advance(timedelta(minutes=2))
    assert await delete_old_keys(database) == 1


async def test_a_key_survives_a_move_during_its_call(database: Database, clock: MovableClock) -> None:
    """A key that is younger than the longest call is not deleted, however far the clock moves meanwhile."""
    waiting, calls_have_ended = asyncio.Event(), asyncio.Event()

    async def end_of_calls(_seconds: float) -> None:
        waiting.set()
        await calls_have_ended.wait()

    async def is_waiting() -> bool:
        clock.advance(timedelta(hours=1))
        return waiting.is_set()

    async with deleting_old_keys(database, end_of_calls):
        await eventually(is_waiting)
        async with calling(database) as tx:
            await act(tx)
        await insert_keys(database, age=RETENTION, count=1)
        clock.advance(2 * RETENTION)
        calls_have_ended.set()

        async def old_key_is_deleted() -> bool:
            async with database.connection() as connection:
                return bool(await connection.fetchval("select count(*) = 1 from idempotency_keys"))

        await eventually(old_key_is_deleted)

    async with calling(database) as tx:
        assert await act(tx) == "effect 1"


async def test_a_process_deletes_old_keys_while_it_runs(database: Database) -> None:
    """A process deletes old keys soon after its start."""
    await insert_keys(database, age=2 * RETENTION, count=1)

    async with deleting_old_keys(database), database.connection() as connection:

        async def are_deleted() -> bool:
            return bool(await connection.fetchval("select count(*) = 0 from idempotency_keys"))

        await eventually(are_deleted)
