"""Sessions in PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.errors import SessionNotFound
from mesh.transaction import Transaction
from services.session.sessions.rows import period_of, range_of, require_row, session_of

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from mesh.data.database import Database
    from services.session.sessions.domain import Period, Session, SessionStatus

_FIND = "select * from sessions where session_id = $1"
_LOCK = "select * from sessions where session_id = $1 for update"

_FIRST_OF_USER = """
    select * from sessions where user_id = $1 and ($2::text is null or status = $2)
    order by lower(period) desc, session_id desc limit $3
"""
_NEXT_OF_USER = """
    select * from sessions where user_id = $1 and ($2::text is null or status = $2)
        and (lower(period), session_id) < (select lower(period), session_id from sessions where session_id = $4)
    order by lower(period) desc, session_id desc limit $3
"""
_BUSY = """
    select period from sessions where gym_id = $1 and period && $2
        and status in ('pending_payment', 'pending_approval', 'confirmed')
    order by period
"""
_SET_STATUS = """
    update sessions set status = $2, cancel_reason = $3, refunded_in_credits = $4, update_time = $5
    where session_id = $1 returning *
"""
_COMPLETE_PAST = """
    update sessions set status = 'completed', update_time = upper(period)
    where session_id in (
        select session_id from sessions where status = 'confirmed' and upper(period) <= $1 for update skip locked
    )
"""


class SessionStore:
    """The sessions of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, session_id: UUID) -> Session:
        """Return the session with this id; raise SessionNotFound if there is none."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_FIND, session_id)
        if row is None:
            raise SessionNotFound
        return session_of(row)

    async def list_of_user(
        self, user_id: UUID, status: SessionStatus | None, limit: int, *, after: UUID | None
    ) -> list[Session]:
        """Return at most `limit` sessions of a user, latest period first, after the one with id `after`."""
        async with self._database.connection() as connection:
            if after is None:
                rows = await connection.fetch(_FIRST_OF_USER, user_id, status, limit)
            else:
                rows = await connection.fetch(_NEXT_OF_USER, user_id, status, limit, after)
        return [session_of(row) for row in rows]

    async def busy_periods(self, gym_id: UUID, period: Period) -> list[Period]:
        """Return the booked periods of a gym that overlap `period`, ordered by start."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_BUSY, gym_id, range_of(period))
        return [period_of(row["period"]) for row in rows]

    async def complete_past(self, now: datetime) -> None:
        """Complete the confirmed sessions that have ended."""
        async with Transaction.begin(self._database) as tx:
            await tx.connection.execute(_COMPLETE_PAST, now)


async def lock_session(tx: Transaction, session_id: UUID) -> Session:
    """Lock a session until the end of the transaction and return it; raise SessionNotFound if there is none."""
    row = await tx.connection.fetchrow(_LOCK, session_id)
    if row is None:
        raise SessionNotFound
    return session_of(row)


async def set_status(
    tx: Transaction, session_id: UUID, status: SessionStatus, reason: str, now: datetime, *, in_credits: bool = False
) -> Session:
    """Set the status of a locked session, with the reason for a cancellation or rejection; return the session.

    `in_credits` records that the price is refunded in credits.
    """
    row = await tx.connection.fetchrow(_SET_STATUS, session_id, status, reason, in_credits, now)
    return session_of(require_row(row))
