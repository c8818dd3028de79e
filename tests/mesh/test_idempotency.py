from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from contracts.errors import IdempotencyKeyMissing, IdempotencyKeyReused, RequestInProgress
from interceptors.context import detached_work
from mesh.database import Database
from mesh.idempotency import (
    IDEMPOTENCY_KEYS,
    IDEMPOTENCY_KEYS_BY_AGE,
    KEPT_FOR,
    KEYS_HAVE_ANSWERS,
    fingerprint_of,
    forget_old_keys,
    forgetting_old_keys,
    once,
)
from mesh.upkeep import DELETED_AT_ONCE
from solo60.common.v1.money_pb2 import Money
from solo60.communication.v1.communication_pb2 import SendEmailAsyncRequest
from solo60.gym.v1.gym_pb2 import CreateGymRequest, CreateGymResponse, GetGymRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from google.protobuf.message import Message

    from mesh.database import Connection

MIGRATION_FOLDERS = sorted((Path(__file__).parents[2] / "services").glob("*/migrations"))
REQUEST = CreateGymRequest(name="Field Street Gym")


@pytest.fixture
async def database(empty_database_url: str) -> AsyncIterator[Database]:
    """Make a database with the table of keys, and one that counts effects."""
    database = await Database.connect(empty_database_url)
    async with database.transaction() as connection:
        await connection.execute(IDEMPOTENCY_KEYS)
        await connection.execute("create table effects (number bigint generated always as identity)")
    yield database
    await database.close()


@asynccontextmanager
async def calling(database: Database, key: str = "key-1", caller: str = "session") -> AsyncIterator[Connection]:
    """Serve a call with this key in a transaction of its own."""
    with detached_work() as context:
        context.caller, context.idempotency_key = caller, key
        async with database.transaction() as connection:
            yield connection


async def act(connection: Connection, request: Message = REQUEST) -> str:
    """Act once, and return the name in the answer: it tells which effect it answers."""

    async def respond() -> CreateGymResponse:
        number = await connection.fetchval("insert into effects default values returning number")
        response = CreateGymResponse()
        response.gym.name = f"effect {number}"
        return response

    return (await once(connection, request, respond, CreateGymResponse)).gym.name


async def effects(database: Database) -> int:
    """Count what happened."""
    async with database.connection() as connection:
        return int(await connection.fetchval("select count(*) from effects"))


@pytest.mark.requirement("S6")
async def test_a_repetition_gets_the_first_answer_and_has_no_effect(database: Database) -> None:
    """The same key with the same request acts once and is answered alike."""
    async with calling(database) as connection:
        first = await act(connection)
    async with calling(database) as connection:
        second = await act(connection)

    assert (first, second) == ("effect 1", "effect 1")
    assert await effects(database) == 1


async def test_a_key_that_comes_with_another_request_is_refused(database: Database) -> None:
    """The same key with another payload is IDEMPOTENCY_KEY_REUSED, and nothing happens."""
    async with calling(database) as connection:
        await act(connection)

    with pytest.raises(IdempotencyKeyReused):
        async with calling(database) as connection:
            await act(connection, CreateGymRequest(name="Another Gym"))

    assert await effects(database) == 1


@pytest.mark.requirement("S6")
@pytest.mark.parametrize(("key", "caller"), [("key-2", "session"), ("key-1", "cli")])
async def test_another_key_or_another_caller_acts_anew(database: Database, key: str, caller: str) -> None:
    """Callers choose their keys without knowing each other's."""
    async with calling(database) as connection:
        await act(connection)
    async with calling(database, key, caller) as connection:
        assert await act(connection) == "effect 2"


@pytest.mark.requirement("S6")
async def test_each_method_has_keys_of_its_own(database: Database) -> None:
    """One key may run through several methods, such as the id of a booking."""
    async with calling(database) as connection:
        await act(connection)
    async with calling(database) as connection:
        assert await act(connection, GetGymRequest()) == "effect 2"


@pytest.mark.requirement("S6")
async def test_a_failure_leaves_the_key_free(database: Database) -> None:
    """A call that had no effect may be repeated with its key, and then acts."""

    async def fail() -> CreateGymResponse:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with calling(database) as connection:
            await once(connection, REQUEST, fail, CreateGymResponse)

    async with calling(database) as connection:
        await act(connection)
    assert await effects(database) == 1


async def test_a_repetition_that_cannot_wait_any_longer_is_told_to_come_back(database: Database) -> None:
    """A key that is being worked on answers REQUEST_IN_PROGRESS at the latest when half of the time is gone."""
    async with calling(database) as connection:
        await act(connection)

        async with calling(database) as impatient:
            await impatient.execute("set local lock_timeout = '50ms'")
            with pytest.raises(RequestInProgress):
                await act(impatient)


@pytest.mark.requirement("S6")
async def test_outside_of_a_call_with_a_key_nothing_is_done(database: Database) -> None:
    """No effect without a key."""
    with pytest.raises(IdempotencyKeyMissing):
        async with database.transaction() as connection:
            await act(connection)
    with pytest.raises(IdempotencyKeyMissing):
        async with calling(database, key="") as connection:
            await act(connection)

    assert await effects(database) == 0


@pytest.mark.requirement("S4")
async def test_what_is_kept_of_a_request_is_its_fingerprint(database: Database) -> None:
    """A request may hold personal data; the table holds 32 bytes of it."""
    async with calling(database) as connection:
        await act(connection)

    async with database.connection() as connection:
        row = await connection.fetchrow("select * from idempotency_keys")
    assert row is not None
    assert len(row["request_sha256"]) == 32
    assert REQUEST.name.encode() not in row["request_sha256"] + row["response"]


VARIABLES = [(f"name-{n}", f"value {n}") for n in range(50)]
FINGERPRINT_ELSEWHERE = """
from mesh.idempotency import fingerprint_of
from solo60.communication.v1.communication_pb2 import SendEmailAsyncRequest
print(fingerprint_of(SendEmailAsyncRequest(variables={f"name-{n}": f"value {n}" for n in reversed(range(50))})).hex())
"""


def test_the_order_of_a_map_does_not_change_the_fingerprint() -> None:
    """The same request has the same one, in whatever order it was put together, in every process."""
    forward = SendEmailAsyncRequest(variables=dict(VARIABLES))
    backward = SendEmailAsyncRequest(variables=dict(reversed(VARIABLES)))
    elsewhere = subprocess.run(
        [sys.executable, "-c", FINGERPRINT_ELSEWHERE], check=True, capture_output=True, text=True
    ).stdout.strip()

    assert fingerprint_of(forward) == fingerprint_of(backward) == bytes.fromhex(elsewhere)


def test_a_default_that_is_spelt_out_is_the_same_request() -> None:
    """A field without presence that is set to its default says nothing; an empty message that is there does."""
    assert fingerprint_of(CreateGymRequest(name="x", noise_policy="")) == fingerprint_of(CreateGymRequest(name="x"))
    assert fingerprint_of(CreateGymRequest(name="x", price_per_hour=Money())) != fingerprint_of(
        CreateGymRequest(name="x")
    )


def test_a_field_that_this_build_does_not_know_belongs_to_the_request() -> None:
    """A newer caller's requests that differ in a new field alone are two."""
    known = REQUEST.SerializeToString()
    newer = [CreateGymRequest.FromString(known + bytes([0xF8, 0x7F, value])) for value in (1, 2)]  # field 2047

    assert len({fingerprint_of(request) for request in (REQUEST, *newer)}) == 3
    assert fingerprint_of(newer[0]) == fingerprint_of(CreateGymRequest.FromString(newer[0].SerializeToString()))


@pytest.mark.parametrize("folder", MIGRATION_FOLDERS, ids=lambda folder: folder.parent.name)
def test_every_service_makes_the_table_alike(folder: Path) -> None:
    """Migrations that make the table make it, its index and its invariant as this module expects them."""
    sql = "".join(path.read_text() for path in sorted(folder.glob("*.sql")))

    has_table = "create table idempotency_keys" in sql
    assert {part in sql for part in (IDEMPOTENCY_KEYS, IDEMPOTENCY_KEYS_BY_AGE, KEYS_HAVE_ANSWERS)} == {has_table}


async def keep_keys(database: Database, *, age: timedelta, count: int) -> None:
    """Keep as many keys as of calls that were made so long ago."""
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


async def test_keys_are_forgotten_after_a_week_and_not_before(database: Database) -> None:
    """Also when more have grown old than are forgotten at once."""
    await keep_keys(database, age=KEPT_FOR + timedelta(minutes=1), count=2 * DELETED_AT_ONCE + 1)
    await keep_keys(database, age=KEPT_FOR - timedelta(minutes=1), count=3)

    assert await forget_old_keys(database) == 2 * DELETED_AT_ONCE + 1

    async with database.connection() as connection:
        assert await connection.fetchval("select count(*) from idempotency_keys") == 3


async def test_a_key_that_is_being_worked_on_is_not_waited_for(database: Database) -> None:
    """Forgetting leaves alone what somebody holds, however old it is."""
    await keep_keys(database, age=2 * KEPT_FOR, count=2)

    async with database.transaction() as connection:
        await connection.execute("select from idempotency_keys where key like '%1' for update")
        assert await forget_old_keys(database) == 1


async def test_a_process_forgets_while_it_runs(database: Database) -> None:
    """Old keys are gone soon after a service has started."""
    await keep_keys(database, age=2 * KEPT_FOR, count=1)

    async with forgetting_old_keys(database), asyncio.timeout(30), database.connection() as connection:
        while await connection.fetchval("select count(*) from idempotency_keys"):  # noqa: ASYNC110 - a row that goes says nothing
            await asyncio.sleep(0.01)


async def test_a_database_without_keys_has_nothing_to_forget(empty_database_url: str) -> None:
    """The session service keeps its keys with its bookings."""
    database = await Database.connect(empty_database_url)
    async with forgetting_old_keys(database):
        pass
    await database.close()
