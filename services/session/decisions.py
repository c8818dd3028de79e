"""Decisions on paid sessions: approve, reject, cancel, complete.

Each decision locks the session row first. A concurrent approval, rejection or cancellation waits for the lock and then
sees the new status.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.errors import SessionNotFound
from services.session.domain import Status
from services.session.rows import known, session_of

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from mesh.data.database import Connection, Database
    from services.session.domain import Session
    from services.session.follow_ups import FollowUps

UNAPPROVED = "Nobody approved it in time."

_LOCK = "select * from sessions where session_id = $1 for update"
_LOCK_COMING_OF_USER = """
    select * from sessions
    where user_id = $1 and status in ('pending_approval', 'confirmed') and lower(period) > $2
    order by session_id for update
"""
_LOCK_UNAPPROVED = """
    select session_id from sessions where status = 'pending_approval' and lower(period) <= $1
    order by session_id for update skip locked
"""
_DECIDE = """
    update sessions set status = $2, cancel_reason = $3, refunded_in_credits = $4, update_time = $5
    where session_id = $1 returning *
"""
_COMPLETE_PAST = """
    update sessions set status = 'completed', update_time = upper(period)
    where session_id in (
        select session_id from sessions where status = 'confirmed' and upper(period) <= $1 for update skip locked
    )
"""


class Decisions:
    """Decisions on the sessions of one database. `follow_ups` writes follow-up calls in the same transaction."""

    def __init__(self, database: Database, follow_ups: FollowUps) -> None:
        self._database = database
        self._follow_ups = follow_ups

    async def approve(self, session_id: UUID, *, now: datetime) -> Session:
        """Confirm a session pending approval. A session already approved is returned unchanged.

        Raises SessionNotFound or SessionNotPendingApproval.
        """
        async with self._database.transaction() as connection:
            session = await _locked(connection, session_id)
            if session.is_approved:
                return session
            session.refuse_approval(now)
            session = await _decide(connection, session_id, Status.CONFIRMED, "", now)
            await self._follow_ups.of_approval(connection, session)
            return session

    async def reject(self, session_id: UUID, reason: str, *, now: datetime) -> Session:
        """Reject a session pending approval. A session already rejected is returned unchanged.

        Raises SessionNotFound or SessionNotPendingApproval.
        """
        async with self._database.transaction() as connection:
            session = await _locked(connection, session_id)
            if session.status is Status.REJECTED:
                return session
            session.refuse_rejection()
            return await self._reject(connection, session_id, reason, now)

    async def reject_unapproved(self, now: datetime) -> None:
        """Reject every session still pending approval at its start."""
        async with self._database.transaction() as connection:
            for row in await connection.fetch(_LOCK_UNAPPROVED, now):
                await self._reject(connection, row["session_id"], UNAPPROVED, now)

    async def cancel(self, session_id: UUID, reason: str, *, now: datetime, in_credits: bool) -> Session:
        """Cancel a session. A session already cancelled is returned unchanged.

        With `in_credits` the price is refunded in credits, otherwise the way it was paid.
        Raises SessionNotFound or SessionNotCancellable.
        """
        async with self._database.transaction() as connection:
            session = await _locked(connection, session_id)
            if session.status is Status.CANCELLED:
                return session
            session.refuse_cancellation(now)
            return await self._cancel(connection, session_id, reason, now, in_credits=in_credits)

    async def cancel_coming_of(self, user_id: UUID, reason: str, *, now: datetime) -> None:
        """Cancel all paid sessions of a user that have not started; refund each the way it was paid."""
        async with self._database.transaction() as connection:
            for row in await connection.fetch(_LOCK_COMING_OF_USER, user_id, now):
                await self._cancel(connection, row["session_id"], reason, now, in_credits=False)

    async def complete_past(self, now: datetime) -> None:
        """Complete the confirmed sessions that have ended."""
        async with self._database.transaction() as connection:
            await connection.execute(_COMPLETE_PAST, now)

    async def _reject(self, connection: Connection, session_id: UUID, reason: str, now: datetime) -> Session:
        session = await _decide(connection, session_id, Status.REJECTED, reason, now)
        await self._follow_ups.of_rejection(connection, session)
        return session

    async def _cancel(
        self, connection: Connection, session_id: UUID, reason: str, now: datetime, *, in_credits: bool
    ) -> Session:
        session = await _decide(connection, session_id, Status.CANCELLED, reason, now, in_credits=in_credits)
        await self._follow_ups.of_cancellation(connection, session)
        return session


async def _locked(connection: Connection, session_id: UUID) -> Session:
    row = await connection.fetchrow(_LOCK, session_id)
    if row is None:
        raise SessionNotFound
    return session_of(row)


async def _decide(
    connection: Connection, session_id: UUID, status: Status, reason: str, now: datetime, *, in_credits: bool = False
) -> Session:
    row = await connection.fetchrow(_DECIDE, session_id, status, reason, in_credits, now)
    return session_of(known(row))
