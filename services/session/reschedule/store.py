"""Moves of sessions in PostgreSQL. The constraint on overlapping sessions decides whether the new slot is free."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

from contracts.errors import SlotTaken, Unavailable
from mesh.data.database import DatabaseTooSlow
from mesh.transaction import Transaction
from services.session.sessions.domain import SessionStatus
from services.session.sessions.rows import columns_of, range_of, require_row, session_of
from services.session.sessions.slots import lock_calendar, require_free

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from mesh.data.database import Database
    from services.session.follow_ups import FollowUps
    from services.session.sessions.domain import Period, Quote, Session

_MOVE = """
    update sessions set period = $2, status = $3, currency = $4, minor_units = $5, credits = $6, noise_policy = $7,
        requires_approval = $8, update_time = $9, moves = moves + 1
    where session_id = $1 returning *
"""


class RescheduleStore:
    """Moves of the sessions of one database. `follow_ups` writes follow-up calls in the same transaction."""

    def __init__(self, database: Database, follow_ups: FollowUps) -> None:
        self._database = database
        self._follow_ups = follow_ups

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Begin a transaction, committed at the end of the block."""
        return Transaction.begin(self._database)

    async def move(self, tx: Transaction, session: Session, period: Period, quote: Quote, now: datetime) -> Session:
        """Move a locked session to another period, at the price in `quote`, and return the moved session.

        A session that has this period already is returned unchanged. Raises SessionNotReschedulable, PriceDiffers,
        SlotTaken, SlotOffered, or Unavailable if too many bookings are waiting for the same gym.
        """
        session.require_reschedulable(quote, now)
        if session.order.period == period:
            return session
        try:
            await lock_calendar(tx, session.order.gym_id)
            await require_free(tx, session.order.gym_id, period, except_session_id=session.session_id)
            moved = await _update(tx, session, period, quote, now)
        except asyncpg.ExclusionViolationError as error:
            raise SlotTaken from error
        except DatabaseTooSlow as error:
            raise Unavailable("Too many bookings are waiting for this gym. Try again later.") from error
        await self._follow_ups.of_move(tx, moved, session.order.period)
        return moved


async def _update(tx: Transaction, session: Session, period: Period, quote: Quote, now: datetime) -> Session:
    status = SessionStatus.PENDING_APPROVAL if quote.requires_approval else SessionStatus.CONFIRMED
    row = await tx.connection.fetchrow(_MOVE, session.session_id, range_of(period), status, *columns_of(quote), now)
    return session_of(require_row(row))
