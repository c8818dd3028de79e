"""Idempotency: an effect happens once for each key of each caller, and its answer is kept beside it (S6).

Every service that uses `once` makes the table, its index and its invariant in its migrations, word for word as in
IDEMPOTENCY_KEYS, IDEMPOTENCY_KEYS_BY_AGE and KEYS_HAVE_ANSWERS. Keys are forgotten after KEPT_FOR: a repetition that
comes later acts again.
"""

from __future__ import annotations

import hashlib
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import asyncpg
from google.protobuf.message import Message

from contracts.errors import IdempotencyKeyMissing, IdempotencyKeyReused, RequestInProgress
from interceptors.context import current_context
from mesh.upkeep import delete_in_batches, repeating

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from interceptors.context import CallContext
    from mesh.database import Connection, Database

Response = TypeVar("Response", bound=Message)

# A week, as money moves under these keys; the IETF's draft and Stripe keep them for a day at least.
KEPT_FOR = timedelta(days=7)
FORGET_INTERVAL_S = 3600.0
# When the one who works on the same request may have finished.
IN_PROGRESS_RETRY_S = 0.5

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

IDEMPOTENCY_KEYS_BY_AGE = """\
create index idempotency_keys_by_age on idempotency_keys (create_time);
"""

# A key is committed with its answer, or not at all.
KEYS_HAVE_ANSWERS = """\
create view violation_key_without_answer as
    select caller, request_type, key from idempotency_keys where response is null;
"""

# Of two calls with one key, the later waits here for the transaction of the earlier.
_CLAIM = """
    insert into idempotency_keys (caller, request_type, key, request_sha256) values ($1, $2, $3, $4)
    on conflict do nothing returning true
"""
_FIND = "select request_sha256, response from idempotency_keys where caller = $1 and request_type = $2 and key = $3"
_FORGET = """
    delete from idempotency_keys where ctid in (
        select ctid from idempotency_keys where create_time < now() - $1::interval order by create_time limit $2
        for update skip locked
    )
"""
_KEEP = "update idempotency_keys set response = $4 where caller = $1 and request_type = $2 and key = $3"


def keyed_call() -> CallContext:
    """Return the context of the call being served; raise IdempotencyKeyMissing outside of a call with a key."""
    context = current_context()
    if context is None or not context.idempotency_key:
        raise IdempotencyKeyMissing
    return context


def mark_replayed() -> None:
    """Say in the answer to the call being served that it is the answer of an earlier call with its key."""
    keyed_call().replayed = True


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
        raise RequestInProgress(retry_after_s=IN_PROGRESS_RETRY_S) from error
    if is_first:
        response = await respond()
        await connection.execute(_KEEP, *claim, response.SerializeToString(deterministic=True))
        return response
    earlier = await connection.fetchrow(_FIND, *claim)
    if earlier is None:  # forgotten since the claim, for its age: the next attempt is a first one
        raise RequestInProgress(retry_after_s=IN_PROGRESS_RETRY_S)
    if earlier["request_sha256"] != fingerprint:
        raise IdempotencyKeyReused
    mark_replayed()
    return response_type.FromString(earlier["response"])


async def forget_old_keys(database: Database, older_than: timedelta = KEPT_FOR) -> int:
    """Delete the keys of calls before that time, and return how many; those being worked on stay."""
    return await delete_in_batches(database, _FORGET, older_than)


@asynccontextmanager
async def forgetting_old_keys(database: Database) -> AsyncIterator[None]:
    """Forget old keys at once and every hour, for the time of the context, if the database keeps any."""
    async with database.connection() as connection:
        keeps_keys = await connection.fetchval("select to_regclass('idempotency_keys') is not null")
    if not keeps_keys:
        yield
        return
    async with repeating("forgetting old idempotency keys", partial(forget_old_keys, database), FORGET_INTERVAL_S):
        yield
