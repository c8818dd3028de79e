"""Cancellation in PostgreSQL.

Each cancellation locks the session row first. A concurrent approval, rejection or cancellation waits for the lock and
then sees the new status.
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

# Reason of the cancellations after a member left. It is the only reason that an erasure leaves.
MEMBER_LEFT = "member left"

_LOCK_UPCOMING_OF_USER = """
    select * from sessions
    where user_id = $1 and status in ('pending_approval', 'confirmed') and lower(period) > $2
    order by session_id for update
"""


class CancellationStore:
    """Cancellation of the sessions of one database. `follow_ups` writes follow-up calls in the same transaction."""

    def __init__(self, database: Database, follow_ups: FollowUps) -> None:
        self._database = database
        self._follow_ups = follow_ups

    @retried_on_conflict
    async def cancel(self, session_id: UUID, reason: str, *, now: datetime, in_credits: bool) -> Session:
        """Cancel a session. A session already cancelled is returned unchanged.

        With `in_credits` the price is refunded in credits, otherwise the way it was paid.
        Raises SessionNotFound or SessionNotCancellable.
        """
        async with Transaction.begin(self._database) as tx:
            session = await lock_session(tx, session_id)
            if session.status is SessionStatus.CANCELLED:
                return session
            session.require_cancellable(now)
            return await self._cancel(tx, session_id, reason, now, in_credits=in_credits)

    @retried_on_conflict
    async def cancel_upcoming_of(self, user_id: UUID, reason: str, *, now: datetime) -> None:
        """Cancel all paid sessions of a user that have not started; refund each the way it was paid."""
        async with Transaction.begin(self._database) as tx:
            for row in await tx.connection.fetch(_LOCK_UPCOMING_OF_USER, user_id, now):
                await self._cancel(tx, row["session_id"], reason, now, in_credits=False)

    async def _cancel(
        self, tx: Transaction, session_id: UUID, reason: str, now: datetime, *, in_credits: bool
    ) -> Session:
        session = await set_status(tx, session_id, SessionStatus.CANCELLED, reason, now, in_credits=in_credits)
        await self._follow_ups.of_cancellation(tx, session)
        return session
