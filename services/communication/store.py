"""Messages in PostgreSQL: each is stored before it is sent, and one sender at a time holds it, by a lease."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.errors import MessageNotFound
from services.communication.domain import LEASE, Attempt, Message, Status

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime
    from uuid import UUID

    import asyncpg

    from mesh.database import Connection, Database
    from services.communication.domain import NewMessage, PageMark, Verdict

_ADD = """
    insert into messages (message_id, template_key, recipients, mail, email_message_id, correlation_id, traceparent,
                          create_time, due_time, status)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $8, 'QUEUED')
"""
_FIND = "select * from messages where message_id = $1"
_LOCK = "select * from messages where message_id = $1 for update"
_REQUEUE = """
    update messages set status = 'QUEUED', due_time = $2, attempts_forgiven = attempts, is_refused = false
    where message_id = $1 returning *
"""
_FAILED = """
    select * from messages
    where status in ('FAILED', 'DEAD') and ($2::timestamptz is null or (create_time, message_id) < ($2, $3::uuid))
    order by create_time desc, message_id desc limit $1
"""
# A message whose lease has run out is due like any other.
_CLAIM = """
    update messages set status = 'SENDING', attempts = attempts + 1, due_time = $2
    where message_id = (
        select message_id from messages where due_time <= $1 order by due_time limit 1 for update skip locked
    )
    returning *
"""
_SETTLE = """
    update messages set
        status = $3,
        due_time = $4,
        recipients = $5,
        is_refused = $6,
        last_error = coalesce(nullif($7, ''), last_error),
        send_time = case when $3 = 'SENT' then $8::timestamptz end,
        mail = case when $3 <> 'SENT' then mail end
    where message_id = $1 and attempts = $2 and status = 'SENDING'
    returning true
"""


class MessageStore:
    """The messages of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def transaction(self) -> AbstractAsyncContextManager[Connection]:
        """Begin a transaction that is committed at the end of the block."""
        return self._database.transaction()

    async def add(self, connection: Connection, new: NewMessage) -> None:
        """Store a message, due at once."""
        await connection.execute(
            _ADD,
            new.message_id,
            new.template_key,
            new.recipients,
            new.mail,
            new.email_message_id,
            new.correlation_id,
            new.traceparent,
            new.create_time,
        )

    async def find(self, message_id: UUID) -> Message:
        """Return a message; raise MessageNotFound when there is none with this id."""
        async with self._database.connection() as connection:
            return _message(await connection.fetchrow(_FIND, message_id))

    async def list_failed(self, limit: int, *, before: PageMark | None) -> list[Message]:
        """Return messages whose last attempt failed, the newest first."""
        mark = (before.create_time, before.message_id) if before else (None, None)
        async with self._database.connection() as connection:
            return [_message(row) for row in await connection.fetch(_FAILED, limit, *mark)]

    async def requeue(self, connection: Connection, message_id: UUID, now: datetime) -> Message:
        """Make a failed message due at once, with as many attempts as a new one.

        Raises MessageNotFound, or MessageNotRetryable when it has not failed.
        """
        _message(await connection.fetchrow(_LOCK, message_id)).ensure_retryable()
        return _message(await connection.fetchrow(_REQUEUE, message_id, now))

    async def claim(self, now: datetime) -> Attempt | None:
        """Begin an attempt to send the message that has been due the longest; None when there is none."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(_CLAIM, now, now + LEASE)
        return _attempt(row) if row else None

    async def settle(self, attempt: Attempt, verdict: Verdict, now: datetime) -> bool:
        """Record how an attempt ended; False, and nothing recorded, when another one has begun since."""
        async with self._database.transaction() as connection:
            return bool(
                await connection.fetchval(
                    _SETTLE,
                    attempt.message_id,
                    attempt.number,
                    verdict.status,
                    verdict.due_time,
                    verdict.remaining,
                    verdict.is_refused,
                    verdict.error,
                    now,
                )
            )


def _message(row: asyncpg.Record | None) -> Message:
    if row is None:
        raise MessageNotFound
    return Message(
        message_id=row["message_id"],
        template_key=row["template_key"],
        status=Status(row["status"]),
        attempts=row["attempts"],
        due_time=row["due_time"],
        last_error=row["last_error"],
        is_refused=row["is_refused"],
        email_message_id=row["email_message_id"],
        create_time=row["create_time"],
        send_time=row["send_time"],
    )


def _attempt(row: asyncpg.Record) -> Attempt:
    return Attempt(
        message_id=row["message_id"],
        template_key=row["template_key"],
        number=row["attempts"],
        round_number=row["attempts"] - row["attempts_forgiven"],
        recipients=tuple(row["recipients"]),
        mail=row["mail"],
        correlation_id=row["correlation_id"],
        traceparent=row["traceparent"],
    )
