"""Idempotency keys in PostgreSQL, each with the response of the request that came with it.

The table is in every service's database (`mesh/migrations`). Keys are deleted after RETENTION; a later repetition runs
the effect again.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Self

import asyncpg

from contracts.errors import IdempotencyKeyMissing, IdempotencyKeyReused, RequestInProgress
from interceptors.context import current_context
from mesh.data.deletion import delete_in_batches
from mesh.data.personal_data import ids_in, may_hold_personal_data
from mesh.periodic import repeating

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from uuid import UUID

    from google.protobuf.message import Message

    from interceptors.context import CallContext
    from mesh.data.database import Connection, Database

# A week, because payments use these keys. The IETF draft and Stripe store keys for at least a day.
RETENTION = timedelta(days=7)
DELETE_INTERVAL_S = 3600.0
# Real time in which a call and its retries end. Their keys must not expire because the clock is moved meanwhile.
LONGEST_CALL_S = 60.0
# Estimated time until the earlier call with the same key has finished.
IN_PROGRESS_RETRY_S = 0.5

# If two calls use the same key, the later one waits here for the transaction of the earlier one.
_CLAIM = """
    insert into idempotency_keys (caller, request_type, key, request_sha256, create_time)
    values ($1, $2, $3, $4, now() + $5::interval)
    on conflict do nothing returning true
"""
_FIND = "select request_sha256, response from idempotency_keys where caller = $1 and request_type = $2 and key = $3"
_DELETE_OLD = """
    delete from idempotency_keys where ctid in (
        select ctid from idempotency_keys where create_time < now() - $1::interval order by create_time limit $2
        for update skip locked
    )
"""
_STORE_RESPONSE = """
    update idempotency_keys set response = $4, subject_ids = $5 where caller = $1 and request_type = $2 and key = $3
"""


def keyed_call() -> CallContext:
    """Return the context of the current call; raise IdempotencyKeyMissing if there is none or it has no key."""
    context = current_context()
    if context is None or not context.idempotency_key:
        raise IdempotencyKeyMissing
    return context


def mark_replayed() -> None:
    """Mark the response to the current call as the stored response of an earlier call with the same key."""
    keyed_call().replayed = True


def fingerprint_of(request: Message) -> bytes:
    """Return the SHA-256 of a request's content, which detects a different request with the same key."""
    return hashlib.sha256(request.SerializeToString(deterministic=True)).digest()


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A request with its idempotency key. Keys of different callers or methods are different keys."""

    caller: str
    key: str
    request: Message
    sha256: bytes

    @property
    def request_type(self) -> str:
        """Full name of the request's type."""
        return self.request.DESCRIPTOR.full_name

    def subject_ids(self, response: Message) -> list[UUID] | None:
        """Return the ids in request and response; None if neither type has personal fields."""
        both = (self.request, response)
        if not any(may_hold_personal_data(each.DESCRIPTOR) for each in both):
            return None
        return sorted(ids_in(self.request) | ids_in(response))

    @classmethod
    def of(cls, request: Message) -> Self:
        """Return `request` with the caller and key of the current call; raise IdempotencyKeyMissing."""
        call = keyed_call()
        return cls(call.caller, call.idempotency_key, request, fingerprint_of(request))


async def claim(connection: Connection, keyed: KeyedRequest, offset: timedelta) -> bytes | None:
    """Claim the key of a request in a transaction; return the stored response, or None if the key is new.

    `offset` is that of the clock.

    Waits for an earlier transaction with the same key. Raises IdempotencyKeyReused if the key came with another request
    before, and RequestInProgress if the earlier transaction is still running after the lock timeout.
    """
    identity = (keyed.caller, keyed.request_type, keyed.key)
    try:
        is_first = await connection.fetchval(_CLAIM, *identity, keyed.sha256, offset)
    except asyncpg.LockNotAvailableError as error:
        raise RequestInProgress(retry_after_s=IN_PROGRESS_RETRY_S) from error
    if is_first:
        return None
    stored = await find_response(connection, keyed)
    if stored is None:  # deleted since the claim because of its age: the next attempt starts anew
        raise RequestInProgress(retry_after_s=IN_PROGRESS_RETRY_S)
    return stored


async def find_response(connection: Connection, keyed: KeyedRequest) -> bytes | None:
    """Return the stored response of an earlier call with the same key, or None if there is none.

    Raises IdempotencyKeyReused if the key came with another request before.
    """
    earlier = await connection.fetchrow(_FIND, keyed.caller, keyed.request_type, keyed.key)
    if earlier is None:
        return None
    if earlier["request_sha256"] != keyed.sha256:
        raise IdempotencyKeyReused
    stored: bytes | None = earlier["response"]
    if stored is None:
        raise LookupError("The idempotency key has no response, although both are committed together.")
    return stored


async def store_response(connection: Connection, keyed: KeyedRequest, response: Message) -> None:
    """Store the response with a key that this transaction has claimed, and the ids by which an erasure finds it."""
    serialized = response.SerializeToString(deterministic=True)
    identity = (keyed.caller, keyed.request_type, keyed.key)
    await connection.execute(_STORE_RESPONSE, *identity, serialized, keyed.subject_ids(response))


async def delete_old_keys(database: Database, offset: timedelta | None = None) -> int:
    """Delete keys older than RETENTION, and return their number; keys in use by a transaction are skipped.

    `offset` is that of the clock, by default its current one.
    """
    age = RETENTION - (database.clock.offset if offset is None else offset)
    return await delete_in_batches(database, _DELETE_OLD, age)


def deleting_old_keys(
    database: Database, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> AbstractAsyncContextManager[None]:
    """Delete old keys at once and every hour while the context is open.

    After a move of the clock, the keys of calls that began before it remain for LONGEST_CALL_S; `sleep` waits for real
    time.
    """
    offset = database.clock.offset

    async def delete() -> None:
        await delete_old_keys(database, offset)

    async def sleep_until_next(seconds: float) -> None:
        nonlocal offset
        await database.clock.sleep(seconds)
        offset = database.clock.offset
        await sleep(LONGEST_CALL_S)

    return repeating("deleting old idempotency keys", delete, DELETE_INTERVAL_S, sleep_until_next)
