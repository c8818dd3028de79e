"""New messages of an outbox: built from events and calls, and written in the caller's transaction."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from contracts.events import request_with, subscribers_of
from contracts.policy import ContractError
from interceptors.chain.channel import MultiCallable
from interceptors.context import current_context, new_correlation_id
from interceptors.tracing.trace_context import current_traceparent

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from google.protobuf.message import Message as ProtoMessage

    from mesh.data.database import Connection

_ADD = """
    insert into outbox
        (message_id, destination, payload, event, aggregate_key, cancel_key, correlation_id, traceparent,
         due_time, deliver_time, create_time)
    select message_id, destination, payload, $4, $5, $6, $7, $8,
        coalesce($9, clock.now), coalesce($9, clock.now), clock.now
    from (select now() + $10::interval as now) as clock cross join
        unnest($1::uuid[], $2::text[], $3::bytea[]) as line (message_id, destination, payload)
"""
_CANCEL = "delete from outbox where cancel_key = $1 and status = 'pending' and lease_holder is null"


def calls_to_subscribers(event: ProtoMessage) -> list[tuple[str, bytes]]:
    """Return the destination and payload of the call to each subscriber of `event`."""
    return [(method.full_name, request_with(event, method)) for method in subscribers_of(event.DESCRIPTOR.full_name)]


def repeatable_call(stub_method: object, request: ProtoMessage) -> tuple[str, bytes]:
    """Return the destination and payload of a call of `stub_method` with `request`.

    Raises ContractError as `Transaction.call_later` does.
    """
    if not isinstance(stub_method, MultiCallable):
        raise ContractError("`method` must be a method of a stub on a mesh channel.")
    called = stub_method.method
    stub_method.start_later()
    if not called.policy.is_repeatable:
        raise ContractError(
            f"{called.full_name} is not safe to repeat, so an outbox cannot call it: "
            "declare an idempotency_level or IDEMPOTENCY_REQUIRED."
        )
    return called.full_name, request.SerializeToString(deterministic=True)


async def add_messages(
    connection: Connection,
    calls: list[tuple[str, bytes]],
    offset: timedelta,
    *,
    event: str = "",
    aggregate_key: str | None = None,
    at: datetime | None = None,
    cancel_key: str | None = None,
) -> None:
    """Add one message for each destination and payload in `calls`. Executes one statement, or none without calls.

    `offset` is that of the clock.
    """
    if not calls:
        return
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
        offset,
    )


async def delete_messages(connection: Connection, cancel_key: str) -> int:
    """Delete the pending messages with this key that no relay is delivering, and return their number."""
    status = await connection.execute(_CANCEL, cancel_key)
    return int(status.removeprefix("DELETE "))
