"""Idempotency keys: run an effect once per caller and key, and store its response in the same transaction.

The table is in every service's database (`mesh/migrations`). Keys are deleted after RETENTION; a later repetition runs
the effect again.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import asyncpg
from google.protobuf.message import Message

from contracts.errors import IdempotencyKeyMissing, IdempotencyKeyReused, RequestInProgress
from interceptors.context import current_context
from mesh.data.deletion import delete_in_batches
from mesh.periodic import repeating

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from interceptors.context import CallContext
    from mesh.data.database import Connection, Database

Response = TypeVar("Response", bound=Message)

# A week, because payments use these keys. The IETF draft and Stripe store keys for at least a day.
RETENTION = timedelta(days=7)
DELETE_INTERVAL_S = 3600.0
# Estimated time until the earlier call with the same key has finished.
IN_PROGRESS_RETRY_S = 0.5

# If two calls use the same key, the later one waits here for the transaction of the earlier one.
_CLAIM = """
    insert into idempotency_keys (caller, request_type, key, request_sha256) values ($1, $2, $3, $4)
    on conflict do nothing returning true
"""
_FIND = "select request_sha256, response from idempotency_keys where caller = $1 and request_type = $2 and key = $3"
_DELETE_OLD = """
    delete from idempotency_keys where ctid in (
        select ctid from idempotency_keys where create_time < now() - $1::interval order by create_time limit $2
        for update skip locked
    )
"""
_STORE_RESPONSE = "update idempotency_keys set response = $4 where caller = $1 and request_type = $2 and key = $3"


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


async def once(
    connection: Connection,
    request: Message,
    respond: Callable[[], Awaitable[Response]],
    response_type: type[Response],
) -> Response:
    """Return the result of `respond`, or its stored result if the caller has sent `request` with the same key before.

    `connection` must be in a transaction, and `respond` must do all its work in that transaction, so that effect and
    response are committed together. Call this function before anything else in the transaction. If `respond` raises,
    nothing is stored and the key is free again. Caller and key are those of the current call. Each method has its own
    keys.

    Raises IdempotencyKeyReused if the key came with another request before. Raises RequestInProgress if an earlier call
    with the key is still running after the lock timeout. Raises IdempotencyKeyMissing outside a call with a key.
    """
    call = keyed_call()
    claim = (call.caller, request.DESCRIPTOR.full_name, call.idempotency_key)
    fingerprint = fingerprint_of(request)
    try:
        is_first = await connection.fetchval(_CLAIM, *claim, fingerprint)
    except asyncpg.LockNotAvailableError as error:
        raise RequestInProgress(retry_after_s=IN_PROGRESS_RETRY_S) from error
    if is_first:
        response = await respond()
        await connection.execute(_STORE_RESPONSE, *claim, response.SerializeToString(deterministic=True))
        return response
    earlier = await connection.fetchrow(_FIND, *claim)
    if earlier is None:  # deleted since the claim because of its age: the next attempt starts anew
        raise RequestInProgress(retry_after_s=IN_PROGRESS_RETRY_S)
    if earlier["request_sha256"] != fingerprint:
        raise IdempotencyKeyReused
    mark_replayed()
    return response_type.FromString(earlier["response"])


async def delete_old_keys(database: Database, older_than: timedelta = RETENTION) -> int:
    """Delete keys older than `older_than`, and return their number; keys in use by a transaction are skipped."""
    return await delete_in_batches(database, _DELETE_OLD, older_than)


def deleting_old_keys(database: Database) -> AbstractAsyncContextManager[None]:
    """Delete old keys at once and every hour while the context is open."""
    return repeating("deleting old idempotency keys", partial(delete_old_keys, database), DELETE_INTERVAL_S)
