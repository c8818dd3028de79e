"""Gyms that offer free slots, and their offers, in a running mesh."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from local.mail_sink import read_mails
from services.session.offers.domain import WaitingListMode
from solo60.gym.v1.gym_pb2 import (
    WAITING_LIST_MODE_OFFER_ONE,
)
from solo60.session.v1.session_pb2 import (
    CancelSessionRequest,
    ClaimOfferRequest,
    GetOfferRequest,
    JoinWaitingListRequest,
    Offer,
    Session,
)
from tests.services.session.booking_mesh import (
    BY_CREDITS,
    book_request,
    period,
)
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from local.mail_sink import Mail
    from solo60.payment.v1.payment_pb2 import PaymentMethod
    from tests.services.session.booking_mesh import BookingMesh

OPEN_OFFERS = "select offer_id from offers where status = 'open' order by offer_id"
MODE = "select waiting_list_mode from calendars where gym_id = $1"


async def offering_gym(booking_mesh: BookingMesh, **fields: object) -> str:
    """Add a gym that offers slots, and wait until the session service knows that."""
    gym_id = await booking_mesh.create_gym(
        name="Field Street Gym", waiting_list_mode=WAITING_LIST_MODE_OFFER_ONE, **fields
    )
    await wait_for_mode(booking_mesh, gym_id, WaitingListMode.OFFER_ONE)
    return gym_id


async def wait_for_mode(booking_mesh: BookingMesh, gym_id: str, mode: WaitingListMode) -> None:
    """Wait until the session service knows a gym's mode."""

    async def is_known() -> bool:
        async with booking_mesh.mesh.database("session").connection() as connection:
            return bool(await connection.fetchval(MODE, UUID(gym_id)) == mode)

    await eventually(is_known)


async def freed(booking_mesh: BookingMesh, *waiting: str, gym: str | None = None) -> list[Offer]:
    """Book and cancel an hour for which members wait, by default in a new gym, and return the open offers."""
    gym_id = gym or await offering_gym(booking_mesh)
    session = await booking_mesh.book(book_request(await booking_mesh.create_member(), gym_id))
    for member in waiting:
        request = JoinWaitingListRequest(user_id=member, gym_id=gym_id, period=period())
        await booking_mesh.sessions.JoinWaitingList(request)
    await booking_mesh.sessions.CancelSession(CancelSessionRequest(session_id=session.session_id))
    return await open_offers(booking_mesh)


async def open_offers(booking_mesh: BookingMesh) -> list[Offer]:
    """Return the open offers."""
    async with booking_mesh.mesh.database("session").connection() as connection:
        rows = await connection.fetch(OPEN_OFFERS)
    return [await find_offer(booking_mesh, str(row["offer_id"])) for row in rows]


async def find_offer(booking_mesh: BookingMesh, offer_id: str) -> Offer:
    """Return an offer as stored now."""
    return (await booking_mesh.sessions.GetOffer(GetOfferRequest(offer_id=offer_id))).offer


async def claim(booking_mesh: BookingMesh, offer: Offer, by: PaymentMethod = BY_CREDITS) -> Session:
    """Claim an offer and return the session."""
    request = ClaimOfferRequest(offer_id=offer.offer_id, payment_method=by)
    return (await booking_mesh.sessions.ClaimOffer(request)).session


async def mails_about_offers(booking_mesh: BookingMesh, count: int) -> list[Mail]:
    """Wait for this number of mails about offers, and return them in the order of arrival."""
    found: list[Mail] = []

    async def have_arrived() -> bool:
        found[:] = [
            mail for mail in read_mails(booking_mesh.inbox_folder) if mail.subject.strip().startswith("Held for you")
        ]
        return len(found) >= count

    await eventually(have_arrived)
    return found
