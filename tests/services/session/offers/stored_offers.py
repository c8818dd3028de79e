"""Offers in a database without a running service."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from services.session.booking.domain import BookingCall
from services.session.offers.domain import CLAIM_DURATION, WaitingListMode
from services.session.sessions.domain import PaymentMethod, Period
from services.session.waiting_list.domain import WaitRequest
from solo60.session.v1.session_pb2 import ExpireOfferRequest
from tests.services.session.stored_sessions import (
    HOUR,
    MINUTE,
    NOW,
    QUOTE,
    book_session,
    pending_mails,
    pending_requests,
)

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


async def decline(stores: Stores, offer_id: UUID) -> None:
    """Decline an offer."""
    await stores.offers.decline(offer_id, now=NOW + MINUTE)


async def expire(stores: Stores, offer_id: UUID) -> None:
    """Expire an offer."""
    await stores.offers.expire(offer_id, now=NOW + CLAIM_DURATION)


async def mails_of(database: Database, template_key: str) -> list[str]:
    """Return the offers or entries of the pending mails of one kind, in order."""
    return [
        each.offer_id or each.entry_id for each in await pending_mails(database) if each.template_key == template_key
    ]


async def leave_times(database: Database) -> list[bool]:
    """Return whether each member has left the waiting list, in the order of joining."""
    async with database.connection() as connection:
        rows = await connection.fetch("select leave_time is not null as has_left from waiting_list order by entry_id")
    return [row["has_left"] for row in rows]
