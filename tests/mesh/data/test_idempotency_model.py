from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from contracts.errors import IdempotencyKeyReused
from interceptors.context import detached_work
from mesh.data.database import Database
from mesh.data.idempotency import RETENTION, delete_old_keys
from mesh.data.integrity import find_broken_invariants
from mesh.transaction import Transaction
from solo60.gym.v1.gym_pb2 import CreateGymRequest, CreateGymResponse, GetGymRequest

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from google.protobuf.message import Message

Claim: TypeAlias = "tuple[str, str, str]"

CALLERS = st.sampled_from(["session", "operator"])
KEYS = st.sampled_from(["a", "b", "c"])
REQUESTS = st.sampled_from([CreateGymRequest(name="One"), CreateGymRequest(name="Other"), GetGymRequest()])
IS_GOOD = st.booleans()
_AGE = "update idempotency_keys set create_time = now() - $2::interval where caller = $1"


class ResponderError(Exception):
    """Error raised by a responder."""


class IdempotencyMachine(RuleBasedStateMachine):
    """Calls with keys against PostgreSQL, compared with a dictionary of answers and a count of effects."""

    url: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.stored: dict[Claim, tuple[Message, str]] = {}
        self.effects = 0
        self._loop = asyncio.Runner()
        self._database = self._await(Database.connect(self.url, max_connections=4))
        self._await(self._execute("truncate idempotency_keys, effects"))

    def teardown(self) -> None:
        """Close the database pool and the event loop of this example."""
        self._await(self._database.close())
        self._loop.close()

    @rule(caller=CALLERS, key=KEYS, request=REQUESTS, is_good=IS_GOOD)
    def call(self, caller: str, key: str, request: Message, *, is_good: bool) -> None:
        """Make one call: a known key returns its answer, a new one stores it, and a failure stores nothing."""
        claim = (caller, request.DESCRIPTOR.full_name, key)
        answer = self._await(self._called(caller, key, request, is_good=is_good))

        if claim in self.stored:
            first, stored = self.stored[claim]
            assert answer == ((stored, True) if first == request else IdempotencyKeyReused)
        elif is_good:
            self._store(claim, request, answer)
        else:
            assert answer is ResponderError

    @rule(caller=CALLERS, key=KEYS, request=REQUESTS, outcomes=st.lists(IS_GOOD, min_size=2, max_size=4))
    def concurrent_calls(self, caller: str, key: str, request: Message, outcomes: list[bool]) -> None:
        """Make concurrent calls with one key: one of the good ones acts, and the other good ones get its answer."""
        claim = (caller, request.DESCRIPTOR.full_name, key)
        answers = self._await(
            _run_concurrently([self._called(caller, key, request, is_good=outcome) for outcome in outcomes])
        )

        if claim in self.stored:
            first, stored = self.stored[claim]
            assert set(answers) == {(stored, True) if first == request else IdempotencyKeyReused}
            return
        acted = [answer for answer in answers if answer != ResponderError and not answer[1]]
        assert len(acted) == any(outcomes)
        if acted:
            self._store(claim, request, acted[0])
            assert set(answers) - {ResponderError} <= {acted[0], (acted[0][0], True)}
            assert all(answer != ResponderError for answer, is_good in zip(answers, outcomes, strict=True) if is_good)

    @rule(caller=CALLERS)
    def keys_expire_for(self, caller: str) -> None:
        """Let the keys of a caller expire, so that each may act again."""
        self._await(self._execute(_AGE, caller, RETENTION + timedelta(seconds=1)))
        old = [claim for claim in self.stored if claim[0] == caller]

        assert self._await(delete_old_keys(self._database)) == len(old)
        for claim in old:
            del self.stored[claim]

    @invariant()
    def the_database_matches_the_model(self) -> None:
        """Check that keys and effects are those of the model and that no invariant is violated."""
        keys, effects, broken_invariants = self._await(self._read_state())

        assert keys == set(self.stored)
        assert effects == self.effects
        assert broken_invariants == ()

    def _store(self, claim: Claim, request: Message, answer: Any) -> None:
        name, is_replayed = answer
        assert not is_replayed
        self.stored[claim] = (request, name)
        self.effects += 1

    async def _called(self, caller: str, key: str, request: Message, *, is_good: bool) -> Any:
        """Return the name in the answer and whether it is a replay, or the type of the raised error."""
        with detached_work() as context:
            context.caller, context.idempotency_key = caller, key
            try:
                async with Transaction.begin(self._database) as tx:
                    answer = await tx.once(request, CreateGymResponse, partial(_act, tx, is_good=is_good))
            except (ResponderError, IdempotencyKeyReused) as error:
                return type(error)
        return answer.gym.name, context.replayed

    async def _execute(self, statement: str, *values: object) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(statement, *values)

    async def _read_state(self) -> tuple[set[Claim], int, tuple[object, ...]]:
        async with self._database.connection() as connection:
            keys = await connection.fetch("select caller, request_type, key from idempotency_keys")
            effects = await connection.fetchval("select count(*) from effects")
            return {tuple(row) for row in keys}, effects, await find_broken_invariants(connection)

    def _await(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run(work)


async def _run_concurrently(calls: list[Coroutine[Any, Any, Any]]) -> list[Any]:
    return await asyncio.gather(*calls)


async def _act(tx: Transaction, *, is_good: bool) -> CreateGymResponse:
    """Have an effect, then fail unless the call is a good one."""
    number = await tx.connection.fetchval("insert into effects default values returning number")
    if not is_good:
        raise ResponderError
    response = CreateGymResponse()
    response.gym.name = f"effect {number}"
    return response


async def _prepare(url: str) -> None:
    database = await Database.connect(url)
    async with database.transaction() as connection:
        await connection.execute("create table effects (number bigint generated always as identity)")
    await database.close()


def test_any_sequence_of_calls_behaves_like_a_dictionary(mesh_database_url: str) -> None:
    """Any sequence of calls, failures, repetitions, races and expiry behaves like a dictionary of answers."""
    asyncio.run(_prepare(mesh_database_url))
    machine = type("Machine", (IdempotencyMachine,), {"url": mesh_database_url})

    run_state_machine_as_test(machine, settings=settings(max_examples=15, stateful_step_count=20, database=None))
