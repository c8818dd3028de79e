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
    from services.session.sessions.domain import Period, Session, SessionFilter, SessionStatus

    # Start and id of the last session of a page.
    Position = tuple[datetime, UUID]

_FIND = "select * from sessions where session_id = $1"
_LOCK = "select * from sessions where session_id = $1 for update"

# The session of an offer is not shown before the member has booked it.
_OF_USER = """
    select * from sessions where user_id = $1 and (offer_id is null or booking_response is not null)
        and ($2::text[] is null or status = any($2)) and ($3::uuid is null or gym_id = $3)
        and lower(period) >= coalesce($4, '-infinity'::timestamptz)
        and lower(period) < coalesce($5, 'infinity'::timestamptz)
"""
_LATEST_OF_USER = f"""
    {_OF_USER} and (lower(period), session_id)
        < (coalesce($7, 'infinity'::timestamptz), coalesce($8, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid))
    order by lower(period) desc, session_id desc limit $6
"""
_EARLIEST_OF_USER = f"""
    {_OF_USER} and (lower(period), session_id)
        > (coalesce($7, '-infinity'::timestamptz), coalesce($8, '00000000-0000-0000-0000-000000000000'::uuid))
    order by lower(period), session_id limit $6
"""
_OF_GYM = """
    select * from sessions where gym_id = $1 and (offer_id is null or booking_response is not null)
        and ($2::text[] is null or status = any($2)) and lower(period) >= $3 and lower(period) < $4
        and (lower(period), session_id)
            > (coalesce($6, '-infinity'::timestamptz), coalesce($7, '00000000-0000-0000-0000-000000000000'::uuid))
    order by lower(period), session_id limit $5
"""
# A failed booking clears its idempotency key, so that the caller can retry with the same key.
_RELEASE = """
    update sessions set status = 'cancelled', idempotency_key = null, update_time = $2, expire_time = null
    where session_id = $1 and status = 'pending_payment' returning *
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
# `= any(array(...))`, because PostgreSQL joins `in (...)` with a scan of the whole table.
_COMPLETE_PAST = """
    update sessions set status = 'completed', update_time = upper(period)
    where session_id = any (array(
        select session_id from sessions where status = 'confirmed' and upper(period) <= $1 for update skip locked
    ))
"""


NO_POSITION = (None, None)


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
        self, user_id: UUID, wanted: SessionFilter, limit: int, *, after: Position | None
    ) -> list[Session]:
        """Return at most `limit` of a user's sessions that match a filter, in its order, after a position."""
        query = _EARLIEST_OF_USER if wanted.earliest_first else _LATEST_OF_USER
        window = (wanted.starts_from, wanted.starts_before)
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                query, user_id, wanted.statuses, wanted.gym_id, *window, limit, *(after or NO_POSITION)
            )
        return [session_of(row) for row in rows]

    async def list_of_gym(
        self, gym_id: UUID, period: Period, statuses: list[SessionStatus] | None, limit: int, *, after: Position | None
    ) -> list[Session]:
        """Return at most `limit` sessions of a gym that start within `period`, earliest first, after a position."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                _OF_GYM, gym_id, statuses, period.start, period.end, limit, *(after or NO_POSITION)
            )
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


async def release_hold(tx: Transaction, session_id: UUID, now: datetime) -> Session | None:
    """Release a held slot and return its session; return None if the slot is no longer held."""
    row = await tx.connection.fetchrow(_RELEASE, session_id, now)
    return session_of(row) if row else None


async def set_status(
    tx: Transaction, session_id: UUID, status: SessionStatus, reason: str, now: datetime, *, in_credits: bool = False
) -> Session:
    """Set the status of a locked session, with the reason for a cancellation or rejection; return the session.

    `in_credits` records that the price is refunded in credits.
    """
    row = await tx.connection.fetchrow(_SET_STATUS, session_id, status, reason, in_credits, now)
    return session_of(require_row(row))
