"""Announcement of free slots: to all waiting members, or as an offer to one at a time, depending on the gym's mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.session.offers.domain import OfferStatus, WaitingListMode, cancel_key_of, expire_time_of
from services.session.offers.writer import add_offer, close_offer, leave_booked, lock_open_offers, reopen_offer
from services.session.sessions.slots import is_free, lock_calendar, mode_of
from services.session.waiting_list.store import entries_waiting_for
from solo60.session.v1.session_pb2 import ExpireOfferRequest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from mesh.transaction import Transaction
    from services.session.mails.outbox import MailOutbox
    from services.session.offers.domain import Offer
    from services.session.sessions.domain import Period, Session
    from services.session.waiting_list.domain import WaitingListEntry
    from solo60.session.v1.session_pb2_grpc import SessionServiceAsyncStub


class FreeSlots:
    """Announcements of free slots. Each method writes in the transaction `tx`, after the slot was released in it."""

    def __init__(self, mails: MailOutbox, sessions: SessionServiceAsyncStub) -> None:
        self._mails = mails
        self._sessions = sessions

    async def announce(
        self,
        tx: Transaction,
        session: Session,
        period: Period,
        *,
        now: datetime,
        except_user_id: UUID | None = None,
        since: datetime | None = None,
    ) -> None:
        """Announce `period`, which `session` has released, to the members who wait for it.

        One user may be excepted. `since` restricts mails about a free slot, but not offers, to entries made at or after
        that time. A period that has started is not announced.
        """
        if period.start <= now:
            return
        waiting = await entries_waiting_for(tx, session.order.gym_id, period, except_user_id=except_user_id)
        if await mode_of(tx, session.order.gym_id) is WaitingListMode.OFFER_ONE:
            await self._offer(tx, session, period, waiting, now)
            return
        for entry in waiting:
            if since is None or entry.create_time >= since:
                await self._mails.add_for_waiting_member(tx, session, entry.entry_id, period)

    async def end_offer(self, tx: Transaction, offer: Offer, status: OfferStatus, now: datetime) -> None:
        """End an open offer with `status`, and announce its slot to the members who still wait."""
        released = await close_offer(tx, offer, status, now)
        await tx.cancel_later(offer.cancel_key)
        await self.announce(tx, released, released.order.period, now=now)

    async def withdraw_offers(self, tx: Transaction, entry_ids: Sequence[UUID], now: datetime) -> None:
        """End the open offers to waiting list entries that were closed before in this transaction."""
        for offer in await lock_open_offers(tx, entry_ids):
            await self.end_offer(tx, offer, OfferStatus.WITHDRAWN, now)

    async def after_failed_claim(self, tx: Transaction, released: Session, *, now: datetime) -> None:
        """Hold the slot again if the offer has not expired, and otherwise announce the slot."""
        await lock_calendar(tx, released.order.gym_id)
        if not await reopen_offer(tx, released, now):
            await self.announce(tx, released, released.order.period, now=now)

    async def after_booked_claim(self, tx: Transaction, session: Session, *, now: datetime) -> None:
        """Remove the member from the waiting list, and cancel the expiry of the offer."""
        if session.offer_id is not None:
            await leave_booked(tx, session.offer_id, now)
            await tx.cancel_later(cancel_key_of(session.offer_id))

    async def _offer(
        self, tx: Transaction, session: Session, period: Period, waiting: list[WaitingListEntry], now: datetime
    ) -> None:
        """Offer each part of the period to the first member who waits for it and for nothing that is taken.

        If there is no such member, entries from before the service stored prices get the mail about a free slot.
        """
        await lock_calendar(tx, session.order.gym_id)
        offered = False
        for entry in waiting:
            wanted = entry.request
            if entry.quote and wanted.period.start > now and await is_free(tx, wanted.gym_id, wanted.period):
                offered |= await self._make_offer(tx, entry, session.correlation_id, now)
        for entry in waiting:
            if not offered and entry.quote is None:
                await self._mails.add_for_waiting_member(tx, session, entry.entry_id, period)

    async def _make_offer(self, tx: Transaction, entry: WaitingListEntry, correlation_id: str, now: datetime) -> bool:
        """Hold the slot and mail the member; return False if the member has left the waiting list."""
        expire_time = expire_time_of(entry.request.period, now)
        added = await add_offer(tx, entry.entry_id, correlation_id, now=now, expire_time=expire_time)
        if added is None:
            return False
        offer_id, session_id = added
        await self._mails.add_for_offer(tx, session_id, offer_id)
        await tx.call_later(
            self._sessions.ExpireOffer,
            ExpireOfferRequest(offer_id=str(offer_id)),
            at=expire_time,
            cancel_key=cancel_key_of(offer_id),
        )
        return True
