"""Offers in a database without a running service."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from services.session.booking.domain import BookingCall
from services.session.offers.domain import WaitingListMode
from services.session.sessions.domain import PaymentMethod, Period
from services.session.waiting_list.domain import WaitRequest
from solo60.session.v1.session_pb2 import ExpireOfferRequest
from tests.services.session.stored_sessions import HOUR, MINUTE, NOW, QUOTE, book_session, pending_requests

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from mesh.data.database import Database
    from services.session.booking.domain import Booking
    from services.session.sessions.domain import Session
    from services.session.stores import Stores
    from services.session.waiting_list.domain import WaitingListEntry

EXPIRE = "solo60.session.v1.SessionService/ExpireOffer"
_OFFERS = """
    select entry_id, status from offers order by create_time, offer_id
"""
_OPEN = "select offer_id from offers where status = 'open' order by offer_id"


async def booked_in_offering_gym(stores: Stores) -> Session:
    """Book an hour in a new gym that offers free slots to one member at a time."""
    gym_id = uuid4()
    await stores.offers.set_mode(gym_id, WaitingListMode.OFFER_ONE)
    return await book_session(stores.bookings, gym_id=gym_id)


async def join(
    stores: Stores,
    gym_id: UUID,
    *,
    user_id: UUID | None = None,
    start: datetime = NOW + HOUR,
    length: timedelta = HOUR,
    now: datetime = NOW,
) -> WaitingListEntry:
    """Let a member, by default a new one, join the waiting list for an hour."""
    request = WaitRequest(user_id or uuid4(), gym_id, Period(start, start + length))
    async with stores.waiting_list.transaction() as tx:
        return await stores.waiting_list.join(tx, request, QUOTE, now)


async def cancel(stores: Stores, session: Session, now: datetime = NOW) -> None:
    """Cancel a session."""
    await stores.cancellations.cancel(session.session_id, "", now=now, in_credits=False)


async def claim(stores: Stores, offer_id: UUID, now: datetime = NOW, key: str | None = None) -> Booking:
    """Hold the slot of an offer while its member is charged, for one minute."""
    call = BookingCall("operator", key or uuid4().hex, b"request", "correlation")
    return await stores.offers.claim(offer_id, PaymentMethod.CARD, call, now=now, expire_time=now + MINUTE)


async def confirm(stores: Stores, booking: Booking, now: datetime = NOW) -> Session:
    """Confirm a claimed slot."""
    confirmed = await stores.bookings.confirm(booking.session.session_id, lambda _: b"answer", now=now)
    assert confirmed is not None
    return confirmed.session


async def offers_in(database: Database) -> list[tuple[UUID, str]]:
    """Return the waiting list entry and the status of each offer, in the order of the offers."""
    async with database.connection() as connection:
        return [(row["entry_id"], row["status"]) for row in await connection.fetch(_OFFERS)]


async def open_offers(database: Database) -> list[UUID]:
    """Return the ids of the open offers, in their order."""
    async with database.connection() as connection:
        return [row["offer_id"] for row in await connection.fetch(_OPEN)]


async def pending_expiries(database: Database) -> list[UUID]:
    """Return the ids of the offers with a pending call that expires them."""
    return [UUID(ExpireOfferRequest.FromString(each).offer_id) for each in await pending_requests(database, EXPIRE)]
