"""Offers in PostgreSQL. The session of an offer holds the slot, in the same constraint as all other sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

from contracts.errors import IdempotencyKeyReused, OfferNotFound, OfferNotOpen
from mesh.data.conflicts import retried_on_conflict
from mesh.transaction import Transaction
from services.session.booking.store import booking_of, find_booking
from services.session.offers.domain import OfferStatus
from services.session.offers.rows import OFFERS, offer_of
from services.session.sessions.slots import set_mode

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from mesh.data.database import Database
    from services.session.booking.domain import Booking, BookingCall
    from services.session.free_slots import FreeSlots
    from services.session.offers.domain import Offer, WaitingListMode
    from services.session.sessions.domain import PaymentMethod

_FIND = f"{OFFERS} where offer_id = $1"
_LOCK = f"{_FIND} for update of offers"
_CLAIM = "update offers set status = 'claimed', update_time = $2 where offer_id = $1"
_CLAIM_SESSION = """
    update sessions set paid_in = $2, caller = $3, idempotency_key = $4, request_sha256 = $5, correlation_id = $6,
        update_time = $7, expire_time = $8
    where session_id = $1 and status = 'pending_payment' returning *
"""


class OfferStore:
    """The offers of one database.

    When an offer ends, `free_slots` offers the slot to the next member in the same transaction.
    """

    def __init__(self, database: Database, free_slots: FreeSlots) -> None:
        self._database = database
        self._free_slots = free_slots

    async def find(self, offer_id: UUID) -> Offer:
        """Return the offer with this id; raise OfferNotFound if there is none."""
        async with self._database.connection() as connection:
            return _found(await connection.fetchrow(_FIND, offer_id))

    @retried_on_conflict
    async def claim(
        self, offer_id: UUID, method: PaymentMethod, call: BookingCall, *, now: datetime, expire_time: datetime
    ) -> Booking:
        """Hold the offered slot for this call until `expire_time`, or return the booking of an identical earlier call.

        Raises OfferNotFound, OfferNotOpen or IdempotencyKeyReused.
        """
        try:
            async with Transaction.begin(self._database) as tx:
                offer = await _lock(tx, offer_id)
                earlier = await find_booking(tx.connection, call)
                if earlier is not None:
                    return earlier
                offer.require_open(now)
                await tx.connection.execute(_CLAIM, offer_id, now)
                identity = (call.caller, call.key, call.request_sha256, call.correlation_id)
                row = await tx.connection.fetchrow(
                    _CLAIM_SESSION, offer.session_id, method, *identity, now, expire_time
                )
                if row is None:
                    raise OfferNotOpen
                return booking_of(row)
        except asyncpg.UniqueViolationError as error:  # a concurrent claim of another offer with the same key
            raise IdempotencyKeyReused from error

    @retried_on_conflict
    async def decline(self, offer_id: UUID, *, now: datetime) -> None:
        """Decline an offer, unless it is declined already, and offer the slot to the next waiting member.

        Raises OfferNotFound or OfferNotOpen.
        """
        async with Transaction.begin(self._database) as tx:
            offer = await _lock(tx, offer_id)
            if offer.status is OfferStatus.DECLINED:
                return
            offer.require_open(now)
            await self._free_slots.end_offer(tx, offer, OfferStatus.DECLINED, now)

    @retried_on_conflict
    async def expire(self, offer_id: UUID, *, now: datetime) -> None:
        """End an offer that is still open, and offer the slot to the next waiting member; raise OfferNotFound."""
        async with Transaction.begin(self._database) as tx:
            offer = await _lock(tx, offer_id)
            if offer.status is OfferStatus.OPEN:
                await self._free_slots.end_offer(tx, offer, OfferStatus.EXPIRED, now)

    async def set_mode(self, gym_id: UUID, mode: WaitingListMode) -> None:
        """Set how a gym announces free slots."""
        async with Transaction.begin(self._database) as tx:
            await set_mode(tx, gym_id, mode)


async def _lock(tx: Transaction, offer_id: UUID) -> Offer:
    return _found(await tx.connection.fetchrow(_LOCK, offer_id))


def _found(row: asyncpg.Record | None) -> Offer:
    if row is None:
        raise OfferNotFound
    return offer_of(row)
