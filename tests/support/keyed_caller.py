"""Process that makes one call with an idempotency key and pauses at a given point of the call.

At that point the process sends "at <point>" and waits for a reply. At the end it sends the bytes of its answer or the
name of the raised exception. The effect of the call is a row in `effects`; the answer names the row's number.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from interceptors.context import detached_work
from mesh.data.database import Database
from mesh.transaction import Transaction
from solo60.gym.v1.gym_pb2 import CreateGymRequest, CreateGymResponse

if TYPE_CHECKING:
    from multiprocessing.connection import Connection as Pipe

POINTS = ("before insert", "after insert", "after effect", "after commit", "before reply")
TABLE = "create table effects (number bigint generated always as identity)"
REQUEST = CreateGymRequest(name="Field Street Gym")


async def act(tx: Transaction) -> CreateGymResponse:
    """Insert a row into `effects` and return an answer with the row's number."""
    number = await tx.connection.fetchval("insert into effects default values returning number")
    response = CreateGymResponse()
    response.gym.name = f"effect {number}"
    return response


def run(url: str, key: str, point: str, silence_ms: int, pipe: Pipe[Any, Any]) -> None:
    """Make one call. PostgreSQL ends the call's transaction if it stops at `point` for `silence_ms`."""

    def pass_by(passed: str) -> None:
        if passed == point:
            pipe.send(f"at {point}")
            pipe.recv()  # blocks the whole process

    async def call() -> bytes:
        database = await Database.connect(url, max_connections=1)
        with detached_work() as context:
            context.caller, context.idempotency_key = "session", key
            async with Transaction.begin(database) as tx:

                async def pass_by_in_transaction(passed: str) -> None:
                    # Set the limit only here, because a busy process may exceed it between two other statements.
                    if passed == point:
                        await tx.connection.execute(f"set local idle_in_transaction_session_timeout = {silence_ms}")
                    pass_by(passed)

                async def respond() -> CreateGymResponse:
                    await pass_by_in_transaction("after insert")
                    response = await act(tx)
                    await pass_by_in_transaction("after effect")
                    return response

                await pass_by_in_transaction("before insert")
                response = await tx.once(REQUEST, CreateGymResponse, respond)
            pass_by("after commit")
        answer = response.SerializeToString(deterministic=True)
        pass_by("before reply")
        return answer

    try:
        pipe.send(asyncio.run(call()))
    except Exception as error:  # noqa: BLE001 - the test gets every exception's name
        pipe.send(type(error).__name__)
