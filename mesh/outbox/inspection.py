"""Inspection: what an operator sees of an outbox, and how messages that could not be delivered are mended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.errors import OutboxMessageNotFound, OutboxMessagePending, OutboxMessageSettled
from mesh.outbox.message import Message, Status, StoredMessage

if TYPE_CHECKING:
    from uuid import UUID

    import asyncpg

    from mesh.database import Database

_LIST = """
    select * from outbox
    where ($1::text is null or status = $1) and ($2::text is null or destination = $2)
        and ($3::bigint is null or sequence < $3)
    order by sequence desc limit $4
"""
_FIND = "select * from outbox where message_id = $1"
_LOCK = "select * from outbox where message_id = $1 for update"
# What is dead comes after what waits for its aggregate now; what waits keeps its place.
_REVIVE = """
    update outbox set status = 'pending', attempts = 0, due_time = now(), settle_time = null, deliver_time = now(),
        sequence = default
    where message_id = $1 returning *
"""
_HURRY = "update outbox set attempts = 0, due_time = now() where message_id = $1 returning *"
_DROP = "delete from outbox where message_id = $1"
_REPLAY = """
    insert into outbox (message_id, destination, payload, event, aggregate_key, correlation_id, traceparent)
    select $2, destination, payload, event, aggregate_key, correlation_id, traceparent
    from outbox where message_id = $1
    on conflict (message_id) do nothing
"""


class Inspection:
    """The outbox of one database, to look into it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(
        self, status: Status | None, destination: str | None, limit: int, *, before: int | None
    ) -> list[StoredMessage]:
        """Return messages, the newest first: the first ones, or those before that sequence."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_LIST, status, destination, before, limit)
        return [_stored(row) for row in rows]

    async def find(self, message_id: UUID) -> StoredMessage:
        """Return one message; raise OutboxMessageNotFound."""
        async with self._database.connection() as connection:
            return _stored(await connection.fetchrow(_FIND, message_id))

    async def retry(self, message_id: UUID) -> StoredMessage:
        """Make a message due at once, its attempts forgotten; raise OutboxMessageNotFound or OutboxMessageSettled."""
        async with self._database.transaction() as connection:
            stored = _mendable(await connection.fetchrow(_LOCK, message_id))
            mend = _REVIVE if stored.status is Status.DEAD else _HURRY
            return _stored(await connection.fetchrow(mend, message_id))

    async def drop(self, message_id: UUID) -> StoredMessage:
        """Delete a message that is not delivered; raise OutboxMessageNotFound or OutboxMessageSettled."""
        async with self._database.transaction() as connection:
            stored = _mendable(await connection.fetchrow(_LOCK, message_id))
            await connection.execute(_DROP, message_id)
            return stored

    async def replay(self, message_id: UUID, new_id: UUID) -> StoredMessage:
        """Add a delivered message once more under another id, once; raise OutboxMessageNotFound or -Pending."""
        async with self._database.transaction() as connection:
            if _stored(await connection.fetchrow(_FIND, message_id)).status is not Status.DELIVERED:
                raise OutboxMessagePending
            await connection.execute(_REPLAY, message_id, new_id)
            return _stored(await connection.fetchrow(_FIND, new_id))


def _mendable(row: asyncpg.Record | None) -> StoredMessage:
    """Return a message that is not delivered, and that nobody delivers now."""
    stored = _stored(row)
    if stored.status is Status.DELIVERED or (row is not None and row["lease_holder"] is not None):
        raise OutboxMessageSettled
    return stored


def _stored(row: asyncpg.Record | None) -> StoredMessage:
    if row is None:
        raise OutboxMessageNotFound
    return StoredMessage(
        message=Message(
            message_id=row["message_id"],
            destination=row["destination"],
            payload=row["payload"],
            event=row["event"],
            aggregate_key=row["aggregate_key"],
            correlation_id=row["correlation_id"],
            traceparent=row["traceparent"],
            attempts=row["attempts"],
            sequence=row["sequence"],
        ),
        status=Status(row["status"]),
        last_error=row["last_error"],
        create_time=row["create_time"],
        due_time=row["due_time"],
        settle_time=row["settle_time"],
    )
