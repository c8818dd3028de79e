"""Idempotency: an effect happens once for each key of each caller, and its answer is kept beside it (S6).

Every service that uses `once` makes the table in its first migration, word for word as in IDEMPOTENCY_KEYS.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypeVar

import asyncpg
from google.protobuf.message import Message

from contracts.errors import IdempotencyKeyMissing, IdempotencyKeyReused, RequestInProgress
from interceptors.context import current_context

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from interceptors.context import CallContext
    from mesh.database import Connection

Response = TypeVar("Response", bound=Message)

IDEMPOTENCY_KEYS = """\
create table idempotency_keys (
    caller text not null,
    request_type text not null,
    key text not null,
    request_sha256 bytea not null,
    response bytea,
    create_time timestamptz not null default now(),
    primary key (caller, request_type, key)
);
"""

# Of two calls with one key, the later waits here for the transaction of the earlier.
_CLAIM = """
    insert into idempotency_keys (caller, request_type, key, request_sha256) values ($1, $2, $3, $4)
    on conflict do nothing returning true
"""
_FIND = "select request_sha256, response from idempotency_keys where caller = $1 and request_type = $2 and key = $3"
_KEEP = "update idempotency_keys set response = $4 where caller = $1 and request_type = $2 and key = $3"


def keyed_call() -> CallContext:
    """Return the context of the call being served; raise IdempotencyKeyMissing outside of a call with a key."""
    context = current_context()
    if context is None or not context.idempotency_key:
        raise IdempotencyKeyMissing
    return context


def fingerprint_of(request: Message) -> bytes:
    """Return what tells a request from another one that comes with the same key: the SHA-256 of its content."""
    return hashlib.sha256(request.SerializeToString(deterministic=True)).digest()


async def once(
    connection: Connection,
    request: Message,
    respond: Callable[[], Awaitable[Response]],
    response_type: type[Response],
) -> Response:
    """Return what `respond` returns, or what it returned when the same caller first sent `request` with the same key.

    `connection` is in a transaction, and `respond` does all its work in it, so that effect and answer are committed
    together. Call this before anything else in the transaction. What `respond` raises is not kept: the key is free
    again. Caller and key are those of the current call; each method has keys of its own.

    Raises IdempotencyKeyReused when the key came with another request before, RequestInProgress when an earlier call
    with it takes too long to wait for, IdempotencyKeyMissing outside of a call with a key.
    """
    call = keyed_call()
    claim = (call.caller, request.DESCRIPTOR.full_name, call.idempotency_key)
    fingerprint = fingerprint_of(request)
    try:
        is_first = await connection.fetchval(_CLAIM, *claim, fingerprint)
    except asyncpg.LockNotAvailableError as error:
        raise RequestInProgress from error
    if is_first:
        response = await respond()
        await connection.execute(_KEEP, *claim, response.SerializeToString(deterministic=True))
        return response
    earlier = await connection.fetchrow(_FIND, *claim)
    if earlier is None:  # forgotten since the claim, for its age: the next attempt is a first one
        raise RequestInProgress
    if earlier["request_sha256"] != fingerprint:
        raise IdempotencyKeyReused
    return response_type.FromString(earlier["response"])
