"""Messages in PostgreSQL: stored before they are sent, and leased to one sender at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.errors import MessageNotFound
from mesh.data.deletion import delete_in_batches
from mesh.transaction import Transaction
from services.communication.domain import LEASE, Attempt, Backlog, Message, MessageStatus

if TYPE_CHECKING:
    from collections.abc import Collection
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime
    from uuid import UUID

    import asyncpg

    from mesh.data.database import Database
    from services.communication.domain import MessageState, NewMessage

_ADD = """
    insert into messages (message_id, template_key, recipients, mail, email_message_id, correlation_id, traceparent,
                          create_time, due_time, status, repeats_in_doubt, expire_time, user_id, category,
                          subject_user_id)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $8, 'QUEUED', $9, $10, $11, $12, $13)
    on conflict (message_id) do nothing
"""
_FIND = "select * from messages where message_id = $1"
_LOCK = "select * from messages where message_id = $1 for update"
_REQUEUE = """
    update messages set status = 'QUEUED', due_time = $2, attempts_forgiven = attempts, is_refused = false,
        may_have_been_sent = false
    where message_id = $1 returning *
"""
_FAILED = """
    select * from messages
    where status in ('FAILED', 'DEAD') and not is_suppressed
        and (create_time, message_id)
            < (coalesce($2, 'infinity'::timestamptz), coalesce($3, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid))
    order by create_time desc, message_id desc limit $1
"""
# A message is due again when its lease expires. No new attempt begins for a message that must not be sent twice, has
# expired or is switched off. The number of the lost attempt stays the same, so that a slow sender can still record the
# outcome.
_CLAIM = """
    with next as (
        select message_id, status = 'SENDING' as was_sending, repeats_in_doubt as is_repeated,
            (expire_time <= $1) is true as has_expired,
            exists (
                select from notification_preferences as preferences
                where preferences.user_id = messages.user_id and messages.category = any (preferences.switched_off)
            ) as is_unwanted
        from messages where due_time <= $1 and message_id <> all($3::uuid[])
        order by due_time limit 1 for update skip locked
    ), due as (
        select *, was_sending and (not is_repeated or has_expired or is_unwanted) as is_lost from next
    )
    update messages set status = 'SENDING', due_time = $2,
        attempts = attempts + (not is_lost and not has_expired and not is_unwanted)::int
    from due where messages.message_id = due.message_id
    returning messages.*, is_lost, has_expired, is_unwanted
"""
_SETTLE = """
    update messages set
        status = $3,
        due_time = $4,
        recipients = $5,
        is_refused = $6,
        last_error = coalesce(nullif($7, ''), last_error),
        send_time = case when $3 = 'SENT' then $8::timestamptz end,
        mail = case when $10 or $11 then ''::bytea when $3 <> 'SENT' then mail end,
        may_have_been_sent = $9,
        is_expired = $10,
        is_suppressed = $11
    where message_id = $1 and attempts = $2 and status = 'SENDING'
    returning true
"""
_NEXT_DUE = """
    select min(case when status = 'SENDING' then create_time else due_time end) from messages where due_time is not null
"""
_DELETE_OLD = """
    delete from messages where message_id in (
        select message_id from messages
        where (status = 'SENT' or (status = 'DEAD' and (is_expired or is_suppressed))) and create_time < $1
        order by create_time limit $2
        for update skip locked
    )
"""
_BACKLOG = """
    select
        (select count(*) from messages where due_time is not null) as waiting,
        (select min(create_time) from messages where due_time is not null) as oldest_create_time,
        (select count(*) from messages where status = 'DEAD' and not is_expired and not is_suppressed) as dead
"""


class MessageStore:
    """The messages of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Begin a transaction, committed at the end of the block."""
        return Transaction.begin(self._database)

    async def add(self, tx: Transaction, new: NewMessage) -> None:
        """Store a message that is due immediately; do nothing if a message with its id is stored."""
        await tx.connection.execute(
            _ADD,
            new.message_id,
            new.template_key,
            new.recipients,
            new.mail,
            new.email_message_id,
            new.correlation_id,
            new.traceparent,
            new.create_time,
            new.repeats_in_doubt,
            new.expire_time,
            new.user_id,
            new.category,
            new.subject_user_id,
        )

    async def find(self, message_id: UUID) -> Message:
        """Return a message; raise MessageNotFound."""
        async with self._database.connection() as connection:
            return _message(await connection.fetchrow(_FIND, message_id))

    async def list_failed(self, limit: int, *, before: tuple[datetime, UUID] | None) -> list[Message]:
        """Return at most `limit` failed, dead and expired messages, newest first.

        `before` is the creation time and id of a message: the result begins with the next older one.
        """
        async with self._database.connection() as connection:
            return [_message(row) for row in await connection.fetch(_FAILED, limit, *(before or (None, None)))]

    async def requeue(self, tx: Transaction, message_id: UUID, now: datetime) -> Message:
        """Make a failed message due immediately, with as many attempts as a new one.

        Raises MessageNotFound, or MessageNotRetryable if the message has not failed or has expired.
        """
        _message(await tx.connection.fetchrow(_LOCK, message_id)).require_retryable()
        return _message(await tx.connection.fetchrow(_REQUEUE, message_id, now))

    async def claim(self, now: datetime, *, in_progress: Collection[UUID] = ()) -> Attempt | None:
        """Lease the message that has been due longest and return its attempt; None if no message is due.

        `in_progress` are the messages that the caller is sending now. Their leases expire if the clock is moved.

        An attempt with `is_only_judged` must not be sent. A lost attempt is the previous one: its lease expired, and
        the mail must not be sent twice.
        """
        async with self.transaction() as tx:
            row = await tx.connection.fetchrow(_CLAIM, now, now + LEASE, list(in_progress))
        return _attempt(row) if row else None

    async def settle(self, attempt: Attempt, state: MessageState, now: datetime) -> bool:
        """Record the state of a message after an attempt; return False and record nothing if a later one has begun."""
        is_expired, is_suppressed = (state.status is each for each in (MessageStatus.EXPIRED, MessageStatus.SUPPRESSED))
        async with self.transaction() as tx:
            return bool(
                await tx.connection.fetchval(
                    _SETTLE,
                    attempt.message_id,
                    attempt.number,
                    # Replicas of an older version do not know EXPIRED and SUPPRESSED, so the database stores DEAD.
                    MessageStatus.DEAD if is_expired or is_suppressed else state.status,
                    state.due_time,
                    state.remaining,
                    state.is_refused,
                    state.error,
                    now,
                    state.may_have_been_sent,
                    is_expired,
                    is_suppressed,
                )
            )

    async def next_due_time(self) -> datetime | None:
        """Return the time of the next attempt, in the past while one is being made; None if no message waits."""
        async with self._database.connection() as connection:
            due_time: datetime | None = await connection.fetchval(_NEXT_DUE)
        return due_time

    async def delete_old(self, before: datetime) -> int:
        """Delete sent, expired and suppressed messages stored before a time, and return their number."""
        return await delete_in_batches(self._database, _DELETE_OLD, before)

    async def backlog(self, now: datetime) -> Backlog:
        """Return the numbers of waiting and dead messages, and the age of the oldest waiting one."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_BACKLOG)
        assert row is not None  # noqa: S101 - always one row
        oldest = row["oldest_create_time"]
        age_s = (now - oldest).total_seconds() if oldest is not None else 0.0
        return Backlog(row["waiting"], max(age_s, 0.0), row["dead"])


def _message(row: asyncpg.Record | None) -> Message:
    if row is None:
        raise MessageNotFound
    return Message(
        message_id=row["message_id"],
        template_key=row["template_key"],
        status=_status(row),
        attempts=row["attempts"],
        due_time=row["due_time"],
        last_error=row["last_error"],
        is_refused=row["is_refused"],
        may_have_been_sent=row["may_have_been_sent"],
        email_message_id=row["email_message_id"],
        create_time=row["create_time"],
        send_time=row["send_time"],
        expire_time=row["expire_time"],
    )


def _status(row: asyncpg.Record) -> MessageStatus:
    if row["is_expired"]:
        return MessageStatus.EXPIRED
    return MessageStatus.SUPPRESSED if row["is_suppressed"] else MessageStatus(row["status"])


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
        repeats_in_doubt=row["repeats_in_doubt"],
        is_lost=row["is_lost"],
        is_expired=row["has_expired"],
        is_suppressed=row["is_unwanted"],
        expire_time=row["expire_time"],
    )
