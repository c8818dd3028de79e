"""Slots in PostgreSQL: the lock of a gym's calendar, and the check that a period is free.

The constraint `sessions_never_overlap` prevents double booking. The lock makes concurrent writers of one gym queue,
because writers that wait for each other in the constraint may deadlock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.errors import SlotOffered, SlotTaken
from services.session.offers.domain import WaitingListMode
from services.session.sessions.rows import range_of

if TYPE_CHECKING:
    from uuid import UUID

    from mesh.transaction import Transaction
    from services.session.sessions.domain import Period

_MAKE_CALENDAR = "insert into calendars (gym_id) values ($1) on conflict do nothing"
_LOCK_CALENDAR = "select from calendars where gym_id = $1 for update"
_MODE = "select waiting_list_mode from calendars where gym_id = $1"
_SET_MODE = """
    insert into calendars (gym_id, waiting_list_mode) values ($1, $2)
    on conflict (gym_id) do update set waiting_list_mode = excluded.waiting_list_mode
"""
# The grouping returns no row if the period is free.
_BLOCKED = """
    select bool_or(offers.offer_id is null) as by_booking
    from sessions left join offers on offers.session_id = sessions.session_id and offers.status = 'open'
    where gym_id = $1 and period && $2 and sessions.session_id is distinct from $3
        and sessions.status in ('pending_payment', 'pending_approval', 'confirmed')
    group by gym_id
"""


async def make_calendar(tx: Transaction, gym_id: UUID) -> None:
    """Create the calendar of a gym, unless it exists."""
    await tx.connection.execute(_MAKE_CALENDAR, gym_id)


async def lock_calendar(tx: Transaction, gym_id: UUID) -> None:
    """Wait for other writers of a gym's slots, and exclude them until the transaction ends."""
    await tx.connection.execute(_LOCK_CALENDAR, gym_id)


async def mode_of(tx: Transaction, gym_id: UUID) -> WaitingListMode:
    """Return how a gym announces free slots."""
    return WaitingListMode(await tx.connection.fetchval(_MODE, gym_id) or WaitingListMode.NOTIFY_ALL)


async def set_mode(tx: Transaction, gym_id: UUID, mode: WaitingListMode) -> None:
    """Set how a gym announces free slots."""
    await tx.connection.execute(_SET_MODE, gym_id, mode)


async def require_free(tx: Transaction, gym_id: UUID, period: Period, *, except_session_id: UUID | None = None) -> None:
    """Raise SlotTaken if a session holds a part of the period, or SlotOffered if only offers do.

    The session with the id `except_session_id` is ignored.
    """
    by_booking = await tx.connection.fetchval(_BLOCKED, gym_id, range_of(period), except_session_id)
    if by_booking is not None:
        raise SlotTaken if by_booking else SlotOffered


async def is_free(tx: Transaction, gym_id: UUID, period: Period) -> bool:
    """Return whether no session or offer holds a part of the period."""
    return await tx.connection.fetchval(_BLOCKED, gym_id, range_of(period), None) is None
