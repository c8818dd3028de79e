"""Approval and rejection in PostgreSQL.

Approval and rejection lock the session row first. A concurrent approval, rejection or cancellation waits for the lock
and then sees the new status.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.data.conflicts import retried_on_conflict
from mesh.transaction import Transaction
from services.session.sessions.domain import SessionStatus
from services.session.sessions.store import lock_session, set_status

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from mesh.data.database import Database
    from services.session.follow_ups import FollowUps
    from services.session.sessions.domain import Session

UNAPPROVED_REASON = "Nobody approved it in time."

_NEXT_START_TIME = "select min(lower(period)) from sessions where status = 'pending_approval'"
_LOCK_UNAPPROVED = """
    select session_id from sessions where status = 'pending_approval' and lower(period) <= $1
    order by session_id for update skip locked
"""


class ApprovalStore:
    """Approval of the sessions of one database. `follow_ups` writes follow-up calls in the same transaction."""

    def __init__(self, database: Database, follow_ups: FollowUps) -> None:
        self._database = database
        self._follow_ups = follow_ups

    async def approve(self, session_id: UUID, *, now: datetime) -> Session:
        """Confirm a session pending approval. A session already approved is returned unchanged.

        Raises SessionNotFound or SessionNotPendingApproval.
        """
        async with Transaction.begin(self._database) as tx:
            session = await lock_session(tx, session_id)
            if session.is_approved:
                return session
            session.require_approvable(now)
            session = await set_status(tx, session_id, SessionStatus.CONFIRMED, "", now)
            await self._follow_ups.of_approval(tx, session)
            return session

    @retried_on_conflict
    async def reject(self, session_id: UUID, reason: str, *, now: datetime) -> Session:
        """Reject a session pending approval. A session already rejected is returned unchanged.

        Raises SessionNotFound or SessionNotPendingApproval.
        """
        async with Transaction.begin(self._database) as tx:
            session = await lock_session(tx, session_id)
            if session.status is SessionStatus.REJECTED:
                return session
            session.require_rejectable()
            return await self._reject(tx, session_id, reason, now)

    async def next_start_time(self) -> datetime | None:
        """Return the start of the next session that waits for approval; None if none waits."""
        async with self._database.connection() as connection:
            start_time: datetime | None = await connection.fetchval(_NEXT_START_TIME)
        return start_time

    @retried_on_conflict
    async def reject_unapproved(self, now: datetime) -> None:
        """Reject every session still pending approval at its start."""
        async with Transaction.begin(self._database) as tx:
            for row in await tx.connection.fetch(_LOCK_UNAPPROVED, now):
                await self._reject(tx, row["session_id"], UNAPPROVED_REASON, now)

    async def _reject(self, tx: Transaction, session_id: UUID, reason: str, now: datetime) -> Session:
        session = await set_status(tx, session_id, SessionStatus.REJECTED, reason, now)
        await self._follow_ups.of_rejection(tx, session)
        return session
