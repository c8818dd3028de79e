"""Administration of an outbox by operators: list, count, show, retry, drop and replay messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.errors import OutboxMessageNotFound, OutboxMessagePending, OutboxMessageSettled
from mesh.outbox.backlog import read_backlog
from mesh.outbox.message import DeliveryStatus, OutboxMessage, StoredMessage

if TYPE_CHECKING:
    from uuid import UUID

    import asyncpg

    from mesh.data.database import Database
    from mesh.outbox.backlog import Backlog

_LIST = """
    select * from outbox
    where ($1::text is null or status = $1) and ($2::text is null or destination = $2)
        and ($3::bigint is null or sequence < $3)
        and ($5::text is null or aggregate_key = $5 or position(convert_to($5, 'UTF8') in payload) > 0)
    order by sequence desc limit $4
"""
_FIND = "select * from outbox where message_id = $1"
_LOCK = "select * from outbox where message_id = $1 for update"
# A dead letter gets a new sequence, so it comes after the pending messages of its aggregate. A pending message retains
# its sequence.
_RETRY_DEAD = """
    update outbox set status = 'pending', attempts = 0, due_time = now() + $2::interval, settle_time = null,
        deliver_time = now() + $2::interval, sequence = default
    where message_id = $1 returning *
"""
_RETRY_PENDING = "update outbox set attempts = 0, due_time = now() + $2::interval where message_id = $1 returning *"
_DROP = "delete from outbox where message_id = $1"
_REPLAY = """
    insert into outbox
        (message_id, destination, payload, event, aggregate_key, correlation_id, traceparent, due_time, deliver_time,
         create_time)
    select $2, destination, payload, event, aggregate_key, correlation_id, traceparent, clock.now, clock.now, clock.now
    from outbox, (select now() + $3::interval as now) as clock where message_id = $1
    on conflict (message_id) do nothing
"""


class OutboxAdministration:
    """Operator access to the outbox of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(
        self,
        status: DeliveryStatus | None,
        destination: str | None,
        limit: int,
        *,
        before: int | None,
        mentioned_id: str | None = None,
    ) -> list[StoredMessage]:
        """Return at most `limit` matching messages, newest first; with `before`, only those with a lower sequence.

        With `mentioned_id`, only messages with this id in their payload or as their aggregate key.
        """
        async with self._database.connection() as connection:
            rows = await connection.fetch(_LIST, status, destination, before, limit, mentioned_id)
        return [_stored(row) for row in rows]

    async def find(self, message_id: UUID) -> StoredMessage:
        """Return one message; raise OutboxMessageNotFound if it does not exist."""
        async with self._database.connection() as connection:
            return _stored(await connection.fetchrow(_FIND, message_id))

    async def backlog(self) -> Backlog:
        """Return the pending messages by destination, and the dead letters by destination and error."""
        return await read_backlog(self._database)

    async def retry(self, message_id: UUID) -> StoredMessage:
        """Make an undelivered message due now and reset its attempts.

        Raises OutboxMessageNotFound, or OutboxMessageSettled if the message is delivered or being delivered.
        """
        async with self._database.transaction() as connection:
            stored = _unsettled(await connection.fetchrow(_LOCK, message_id))
            statement = _RETRY_DEAD if stored.status is DeliveryStatus.DEAD else _RETRY_PENDING
            return _stored(await connection.fetchrow(statement, message_id, self._database.clock.offset))

    async def drop(self, message_id: UUID) -> StoredMessage:
        """Delete an undelivered message and return it.

        Raises OutboxMessageNotFound, or OutboxMessageSettled if the message is delivered or being delivered.
        """
        async with self._database.transaction() as connection:
            stored = _unsettled(await connection.fetchrow(_LOCK, message_id))
            await connection.execute(_DROP, message_id)
            return stored

    async def replay(self, message_id: UUID, new_id: UUID) -> StoredMessage:
        """Add a copy of a delivered message under `new_id`, at most once, and return the copy.

        Raises OutboxMessageNotFound, or OutboxMessagePending if the message is not delivered.
        """
        async with self._database.transaction() as connection:
            if _stored(await connection.fetchrow(_FIND, message_id)).status is not DeliveryStatus.DELIVERED:
                raise OutboxMessagePending
            await connection.execute(_REPLAY, message_id, new_id, self._database.clock.offset)
            return _stored(await connection.fetchrow(_FIND, new_id))


def _unsettled(row: asyncpg.Record | None) -> StoredMessage:
    """Return the message of a row; raise OutboxMessageSettled if it is delivered or leased by a relay."""
    stored = _stored(row)
    if stored.status is DeliveryStatus.DELIVERED or (row is not None and row["lease_holder"] is not None):
        raise OutboxMessageSettled
    return stored


def _stored(row: asyncpg.Record | None) -> StoredMessage:
    if row is None:
        raise OutboxMessageNotFound
    return StoredMessage(
        message=OutboxMessage(
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
        status=DeliveryStatus(row["status"]),
        last_error=row["last_error"],
        create_time=row["create_time"],
        due_time=row["due_time"],
        settle_time=row["settle_time"],
    )
