"""Writing to an outbox: one statement in the caller's transaction, committed or rolled back with it."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.message import Message as ProtoMessage

from contracts.events import aggregate_key_of, request_with, subscribers_of
from contracts.policy import ContractError
from interceptors.context import current_context, new_correlation_id
from interceptors.trace_context import current_traceparent

if TYPE_CHECKING:
    from datetime import datetime

    from grpc.aio import UnaryUnaryMultiCallable

    from contracts.method import Method
    from mesh.database import Connection

Request = TypeVar("Request", bound=ProtoMessage)
Response = TypeVar("Response", bound=ProtoMessage)

_ADD = """
    insert into outbox
        (message_id, destination, payload, event, aggregate_key, cancel_key, correlation_id, traceparent,
         due_time, deliver_time)
    select message_id, destination, payload, $4, $5, $6, $7, $8, coalesce($9, now()), coalesce($9, now())
    from unnest($1::uuid[], $2::text[], $3::bytea[]) as line (message_id, destination, payload)
"""
_CANCEL = "delete from outbox where cancel_key = $1 and status = 'pending' and lease_holder is null"


async def publish(connection: Connection, event: ProtoMessage) -> None:
    """Tell every subscriber of `event`, each by a message of its own, once the caller's transaction is committed.

    It costs one statement, and none where nobody subscribes. Raises ContractError when the message is no event.
    """
    aggregate_key = aggregate_key_of(event)
    name = event.DESCRIPTOR.full_name
    calls = [(method.full_name, request_with(event, method)) for method in subscribers_of(name)]
    if calls:
        await _add(connection, calls, event=name, aggregate_key=aggregate_key)


async def call_later(
    connection: Connection,
    method: UnaryUnaryMultiCallable[Request, Response],
    request: Request,
    *,
    aggregate_key: str | None = None,
    at: datetime | None = None,
    cancel_key: str | None = None,
) -> None:
    """Call `method` of a stub with `request` once the caller's transaction is committed, and not before `at`.

    Calls to one method with the same `aggregate_key` are made in the order of their writing; what is to come at a time
    of its own takes no part in an order. `cancel_later` takes back what has this `cancel_key`. Nobody sees the answer.

    Raises ContractError when the method's contract does not say that a call can be repeated, and where contracts are
    strict, when the method being served does not name it in `calls_later`.
    """
    called = _method_of(method)
    _start_later(method)
    if not called.policy.is_repeatable:
        raise ContractError(f"{called.full_name} is not safe to repeat, so no outbox may call it")
    if at is not None and aggregate_key is not None:
        raise ValueError("a call at a time of its own takes no part in an order")
    payload = request.SerializeToString(deterministic=True)
    await _add(connection, [(called.full_name, payload)], aggregate_key=aggregate_key, at=at, cancel_key=cancel_key)


async def cancel_later(connection: Connection, cancel_key: str) -> int:
    """Take back, with the caller's transaction, every pending message with this key; return how many those were.

    What is being delivered at this moment is not taken back.
    """
    status = await connection.execute(_CANCEL, cancel_key)
    return int(status.removeprefix("DELETE "))


async def _add(
    connection: Connection,
    calls: list[tuple[str, bytes]],
    *,
    event: str = "",
    aggregate_key: str | None = None,
    at: datetime | None = None,
    cancel_key: str | None = None,
) -> None:
    context = current_context()
    await connection.execute(
        _ADD,
        [uuid.uuid4() for _ in calls],
        [destination for destination, _ in calls],
        [payload for _, payload in calls],
        event,
        aggregate_key,
        cancel_key,
        context.correlation_id if context else new_correlation_id(),
        current_traceparent(),
        at,
    )


def _start_later(calls: Any) -> None:  # noqa: ANN401 - a stub's attribute over a chained channel
    calls.start_later()


def _method_of(calls: object) -> Method:
    """Return the method that an attribute of a stub calls: the mesh's channels know it, others do not."""
    method: Method | None = getattr(calls, "method", None)
    if method is None:
        raise ContractError("this is no method of a stub on one of the mesh's channels")
    return method
