"""Waiting lists in PostgreSQL: at most one open entry per member, gym and period.

Joining locks the sessions that block the slot. If the slot is freed at the same moment, the member therefore gets
either SlotFree at once or a mail. Leaving locks the member's offers before the entries, in the same order as the end of
an offer, so that these do not deadlock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.errors import AlreadyWaiting, SlotFree, WaitingListEntryNotFound
from mesh.data.conflicts import retried_on_conflict
from mesh.transaction import Transaction
from services.session.offers.writer import lock_open_offers
from services.session.sessions.rows import columns_of, period_of, quote_of, range_of
from services.session.waiting_list.domain import WaitingListEntry, WaitRequest

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime
    from uuid import UUID

    import asyncpg

    from mesh.data.database import Database
    from services.session.free_slots import FreeSlots
    from services.session.sessions.domain import Period, Quote

_FIND = "select * from waiting_list where entry_id = $1"
# Sorted, because transactions that lock rows in different orders can deadlock.
_LOCK_BUSY = """
    select create_time from sessions where gym_id = $1 and period && $2
        and status in ('pending_payment', 'pending_approval', 'confirmed')
    order by session_id for share
"""
_ADD = """
    insert into waiting_list (user_id, gym_id, period, create_time,
                              currency, minor_units, credits, noise_policy, requires_approval)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    on conflict (user_id, gym_id, period) where leave_time is null do nothing returning *
"""
_OPEN_OF_USER = "select entry_id from waiting_list where user_id = $1 and leave_time is null"
_LEAVE = "update waiting_list set leave_time = coalesce(leave_time, $2) where entry_id = $1 returning entry_id"
_LEAVE_ALL = "update waiting_list set leave_time = $2 where user_id = $1 and leave_time is null returning entry_id"
# Entries for past periods stay in the table. Only a condition with `&&` lets the index skip them.
_LIST = """
    select * from waiting_list where gym_id = $1 and leave_time is null
        and period && tstzrange($2, null) and period && coalesce($3, '(,)'::tstzrange)
        and ($5::uuid is null
            or (create_time, entry_id) > (select create_time, entry_id from waiting_list where entry_id = $5))
    order by create_time, entry_id limit $4
"""
_WAITING_FOR = """
    select * from waiting_list
    where gym_id = $1 and period && $2 and leave_time is null and user_id is distinct from $3
    order by create_time, entry_id
"""


class WaitingListStore:
    """The waiting lists of one database. When a member leaves, `free_slots` offers the slot to the next member."""

    def __init__(self, database: Database, free_slots: FreeSlots) -> None:
        self._database = database
        self._free_slots = free_slots

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Begin a transaction, committed at the end of the block."""
        return Transaction.begin(self._database)

    async def find(self, entry_id: UUID) -> WaitingListEntry:
        """Return an entry, even if the member has left; raise WaitingListEntryNotFound if there is none."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_FIND, entry_id)
        if row is None:
            raise WaitingListEntryNotFound
        return _entry(row)

    async def list_of_gym(
        self, gym_id: UUID, period: Period | None, limit: int, *, now: datetime, after: UUID | None
    ) -> list[WaitingListEntry]:
        """Return at most `limit` open entries of a gym, oldest first, after the one with id `after`.

        `period` restricts the list to overlapping entries. Entries with a past period are omitted.
        """
        overlap = range_of(period) if period else None
        async with self._database.connection() as connection:
            rows = await connection.fetch(_LIST, gym_id, now, overlap, limit, after)
        return list(map(_entry, rows))

    async def join(self, tx: Transaction, request: WaitRequest, quote: Quote, now: datetime) -> WaitingListEntry:
        """Add a request with its price within the caller's transaction; raise SlotFree or AlreadyWaiting."""
        slot = request.gym_id, range_of(request.period)
        # A session that was cancelled while this transaction waited for its lock may have been replaced by an offer,
        # which only a second statement sees.
        busy = await tx.connection.fetch(_LOCK_BUSY, *slot) or await tx.connection.fetch(_LOCK_BUSY, *slot)
        if not busy:
            raise SlotFree
        # Never before the blocking sessions, even if this clock is slow: a released hold mails only later entries.
        create_time = max(now, *[row["create_time"] for row in busy])
        row = await tx.connection.fetchrow(_ADD, request.user_id, *slot, create_time, *columns_of(quote))
        if row is None:
            raise AlreadyWaiting
        return _entry(row)

    @retried_on_conflict
    async def leave(self, entry_id: UUID, now: datetime) -> None:
        """Close an entry and withdraw its offer, unless it is closed already; raise WaitingListEntryNotFound."""
        async with self.transaction() as tx:
            await lock_open_offers(tx, [entry_id])
            if await tx.connection.fetchval(_LEAVE, entry_id, now) is None:
                raise WaitingListEntryNotFound
            await self._free_slots.withdraw_offers(tx, [entry_id], now)

    @retried_on_conflict
    async def leave_all(self, user_id: UUID, now: datetime) -> None:
        """Close all entries of a member and withdraw their offers."""
        async with self.transaction() as tx:
            await lock_open_offers(tx, [row["entry_id"] for row in await tx.connection.fetch(_OPEN_OF_USER, user_id)])
            closed = await tx.connection.fetch(_LEAVE_ALL, user_id, now)
            await self._free_slots.withdraw_offers(tx, [row["entry_id"] for row in closed], now)


async def entries_waiting_for(
    tx: Transaction, gym_id: UUID, period: Period, *, except_user_id: UUID | None
) -> list[WaitingListEntry]:
    """Return the open entries that overlap a period of a gym, oldest first, except those of one user."""
    rows = await tx.connection.fetch(_WAITING_FOR, gym_id, range_of(period), except_user_id)
    return [_entry(row) for row in rows]


def _entry(row: asyncpg.Record) -> WaitingListEntry:
    return WaitingListEntry(
        entry_id=row["entry_id"],
        request=WaitRequest(row["user_id"], row["gym_id"], period_of(row["period"])),
        create_time=row["create_time"],
        is_over=row["leave_time"] is not None,
        quote=quote_of(row) if row["currency"] is not None else None,
    )
