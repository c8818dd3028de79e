"""Unit of work of a service: the changes, the follow-up calls and events, and the stored response of one call.

    async with store.transaction() as tx:
        return await tx.once(request, CreateGymResponse, partial(self._create_gym, tx, request))

Everything that is written through one transaction is committed together at the end of the block, or not at all.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self, TypeVar

from google.protobuf.message import Message

from contracts.events import aggregate_key_of
from mesh.clock import SYSTEM_CLOCK
from mesh.data.idempotency import KeyedRequest, claim, find_response, mark_replayed, store_response
from mesh.outbox.writer import add_messages, calls_to_subscribers, delete_messages, repeatable_call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from datetime import datetime

    from grpc.aio import UnaryUnaryMultiCallable

    from mesh.clock import Clock
    from mesh.data.database import Connection, Database

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


class Transaction:
    """Database transaction that runs a call once per idempotency key and writes to the outbox.

    `connection` runs the SQL of stores. `clock` is that of the database.

    A store may yield a subclass with methods for its own tables.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.clock: Clock = SYSTEM_CLOCK
        # Keys that were claimed, but have no response yet.
        self._open_keys = 0

    @classmethod
    @asynccontextmanager
    async def begin(cls, database: Database) -> AsyncIterator[Self]:
        """Begin a READ COMMITTED transaction, committed at the end of the block or rolled back on any exception.

        Raises DatabaseUnavailable if the server is not reachable or no connection is free. `retried_on_conflict`
        retries a function after a conflict with another transaction.
        """
        async with database.transaction() as connection:
            tx = cls(connection)
            tx.clock = database.clock
            yield tx
            if tx._open_keys:
                raise RuntimeError("the work of `once` has failed, so its transaction cannot be committed")

    async def once(
        self, request: Message, response_type: type[Response], work: Callable[[], Awaitable[Response]]
    ) -> Response:
        """Return the result of `work`, or its stored result if the caller has sent `request` with the same key before.

        `work` must do all its work in this transaction, so that effect and response are committed together. Call this
        method before anything else in the transaction. If `work` raises, the transaction cannot be committed, even if
        the exception is caught inside the block: nothing is stored, and the key is free again. Caller and key are those
        of the current call. Each method has its own keys.

        Raises IdempotencyKeyReused if the key came with another request before. Raises RequestInProgress if an earlier
        call with the key is still running after the lock timeout. Raises IdempotencyKeyMissing outside a call with a
        key.
        """
        keyed = KeyedRequest.of(request)
        stored = await claim(self.connection, keyed, self.clock.offset)
        if stored is not None:
            mark_replayed()
            return response_type.FromString(stored)
        self._open_keys += 1
        response = await work()
        await store_response(self.connection, keyed, response)
        self._open_keys -= 1
        return response

    async def find_response(self, request: Message, response_type: type[Response]) -> Response | None:
        """Return the response that `once` has stored for the same request and key, or None.

        A method that calls a remote system before `once` asks this first, so that a repetition has no second effect
        there. Raises IdempotencyKeyReused if the key came with another request before.
        """
        stored = await find_response(self.connection, KeyedRequest.of(request))
        if stored is None:
            return None
        mark_replayed()
        return response_type.FromString(stored)

    async def publish(self, event: Message) -> None:
        """Send `event` to each subscriber in a separate message, after the transaction commits.

        Executes one statement, or none if there are no subscribers. Raises ContractError if the message is not declared
        to be an event.
        """
        name, aggregate_key = event.DESCRIPTOR.full_name, aggregate_key_of(event)
        calls, offset = calls_to_subscribers(event), self.clock.offset
        await add_messages(self.connection, calls, offset, event=name, aggregate_key=aggregate_key)

    async def call_later(
        self,
        method: UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        aggregate_key: str | None = None,
        at: datetime | None = None,
        cancel_key: str | None = None,
    ) -> None:
        """Call `method` of a stub with `request` after the transaction commits, and not before `at`.

        Calls of one method with the same `aggregate_key` are delivered in the order they were written. `cancel_later`
        deletes calls with this `cancel_key`. The response is discarded.

        Raises ContractError if the method's contract does not allow repeated calls. With strict contracts, also raises
        ContractError if the method being served does not list this method in `calls_later`. Raises ValueError for a
        call with both `at` and `aggregate_key`.
        """
        call = repeatable_call(method, request)
        if at is not None and aggregate_key is not None:
            raise ValueError("A call cannot have both `at` and `aggregate_key`.")
        offset = self.clock.offset
        await add_messages(self.connection, [call], offset, aggregate_key=aggregate_key, at=at, cancel_key=cancel_key)

    async def cancel_later(self, cancel_key: str) -> int:
        """Delete every pending message with this key when the transaction commits, and return their number.

        Messages that are being delivered are not deleted.
        """
        return await delete_messages(self.connection, cancel_key)
