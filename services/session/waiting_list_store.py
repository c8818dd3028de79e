"""The waiting list in PostgreSQL: each wish stands on it once, and only while something is in its way.

Whoever joins locks the sessions that are in the way against a change: of a slot that becomes free at the same moment, a
member is either told at once or mailed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.errors import AlreadyWaiting, SlotFree, WaitingListEntryNotFound
from services.session.rows import entry_of, range_of

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime
    from uuid import UUID

    from mesh.database import Connection, Database
    from services.session.domain import Period, Session, WaitingListEntry, Wish

_FIND = "select * from waiting_list where entry_id = $1"
# In one order, so that nobody waits in a circle.
_LOCK_BUSY = """
    select create_time from sessions where gym_id = $1 and period && $2
        and status in ('pending_payment', 'pending_approval', 'confirmed')
    order by session_id for share
"""
_ADD = """
    insert into waiting_list (user_id, gym_id, period, create_time) values ($1, $2, $3, $4)
    on conflict (user_id, gym_id, period) where leave_time is null do nothing returning *
"""
_LEAVE = "update waiting_list set leave_time = coalesce(leave_time, $2) where entry_id = $1 returning entry_id"
_LEAVE_ALL = "update waiting_list set leave_time = $2 where user_id = $1 and leave_time is null"
_LIST = """
    select * from waiting_list where gym_id = $1 and leave_time is null and upper(period) > $2
        and ($3::tstzrange is null or period && $3)
        and ($5::uuid is null
            or (create_time, entry_id) > (select create_time, entry_id from waiting_list where entry_id = $5))
    order by create_time, entry_id limit $4
"""
_WAITING_FOR = """
    select entry_id from waiting_list where gym_id = $1 and period && $2 and leave_time is null and user_id <> $3
        and ($4::timestamptz is null or create_time >= $4)
    order by create_time, entry_id
"""


class WaitingListStore:
    """The waiting lists of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def transaction(self) -> AbstractAsyncContextManager[Connection]:
        """Begin a transaction that is committed at the end of the block."""
        return self._database.transaction()

    async def find(self, entry_id: UUID) -> WaitingListEntry:
        """Return an entry, also one whose member has left; raise WaitingListEntryNotFound."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_FIND, entry_id)
        if row is None:
            raise WaitingListEntryNotFound
        return entry_of(row)

    async def list_of_gym(
        self, gym_id: UUID, period: Period | None, limit: int, *, now: datetime, after: UUID | None
    ) -> list[WaitingListEntry]:
        """Return the entries for a gym that are not over, longest waiting first: the first, or those after one."""
        overlap = range_of(period) if period else None
        async with self._database.connection() as connection:
            rows = await connection.fetch(_LIST, gym_id, now, overlap, limit, after)
        return list(map(entry_of, rows))

    async def join(self, connection: Connection, wish: Wish, now: datetime) -> WaitingListEntry:
        """Put a wish on the list within the caller's transaction; raise SlotFree or AlreadyWaiting."""
        busy = await connection.fetch(_LOCK_BUSY, wish.gym_id, range_of(wish.period))
        if not busy:
            raise SlotFree
        # Later than what is in the way, whatever the clocks of other processes say.
        create_time = max(now, *[row["create_time"] for row in busy])
        row = await connection.fetchrow(_ADD, wish.user_id, wish.gym_id, range_of(wish.period), create_time)
        if row is None:
            raise AlreadyWaiting
        return entry_of(row)

    async def leave(self, entry_id: UUID, now: datetime) -> None:
        """Take an entry off its list; one that has left stays as it is. Raises WaitingListEntryNotFound."""
        async with self._database.transaction() as connection:
            if await connection.fetchval(_LEAVE, entry_id, now) is None:
                raise WaitingListEntryNotFound

    async def leave_all(self, user_id: UUID, now: datetime) -> None:
        """Take a member off every list."""
        async with self._database.transaction() as connection:
            await connection.execute(_LEAVE_ALL, user_id, now)


async def entries_waiting_for(connection: Connection, session: Session, *, since: datetime | None) -> list[UUID]:
    """Return who waits, since then or ever, for the slot of a session that has just lost it, longest waiting first.

    Whose session it was does not want it back, and nobody wants what has begun.
    """
    order = session.order
    if order.period.start <= session.update_time:
        return []
    rows = await connection.fetch(_WAITING_FOR, order.gym_id, range_of(order.period), order.user_id, since)
    return [row["entry_id"] for row in rows]
