from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from solo60.session.v1.session_pb2 import (
    JoinWaitingListRequest,
    LeaveWaitingListRequest,
    OnUserErasedRequest,
    RejectSessionRequest,
)
from solo60.user.v1.events_pb2 import UserErased
from tests.services.session.booking_mesh import book_request, period
from tests.services.session.offers.offering_mesh import freed, offering_gym, open_offers
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from solo60.session.v1.session_pb2 import Offer
    from tests.services.session.booking_mesh import BookingMesh

    End = Callable[[BookingMesh, Offer], Awaitable[object]]

# The call that expires an offer is due now.
MAKE_DUE = "update outbox set due_time = now() where destination like '%ExpireOffer' and status = 'pending'"


async def leave(booking_mesh: BookingMesh, offer: Offer) -> None:
    """Make the member of an offer leave the waiting list."""
    await booking_mesh.sessions.LeaveWaitingList(LeaveWaitingListRequest(entry_id=offer.entry_id))


async def erase(booking_mesh: BookingMesh, offer: Offer) -> None:
    """Report that the member of an offer is erased."""
    await booking_mesh.sessions.OnUserErased(OnUserErasedRequest(event=UserErased(user_id=offer.user_id)))


async def expire(booking_mesh: BookingMesh, offer: Offer) -> None:
    """Make the call due that expires an offer, and wait until the offer is no longer open."""
    async with booking_mesh.mesh.database("session").transaction() as connection:
        await connection.execute(MAKE_DUE)
        await connection.execute("notify outbox")

    async def is_over() -> bool:
        return offer not in await open_offers(booking_mesh)

    await eventually(is_over)


@pytest.mark.parametrize("end", [leave, erase, expire])
async def test_an_offer_passes_on_to_the_next_member(booking_mesh: BookingMesh, end: End) -> None:
    """If a member leaves the waiting list, is erased or lets the offer expire, the next member gets the offer."""
    first, second = [await booking_mesh.create_member() for _ in range(2)]
    (offer,) = await freed(booking_mesh, first, second)

    await end(booking_mesh, offer)

    assert [(each.user_id, each.period) for each in await open_offers(booking_mesh)] == [(second, period())]


async def test_the_slot_of_a_rejected_session_is_offered(booking_mesh: BookingMesh) -> None:
    """If an admin rejects a session, its slot is offered to the first member who waits."""
    gym, waiting = await offering_gym(booking_mesh, requires_approval=True), await booking_mesh.create_member()
    session = await booking_mesh.book(book_request(await booking_mesh.create_member(), gym))
    await booking_mesh.sessions.JoinWaitingList(JoinWaitingListRequest(user_id=waiting, gym_id=gym, period=period()))

    await booking_mesh.sessions.RejectSession(RejectSessionRequest(session_id=session.session_id, reason="closed"))

    assert [(each.user_id, each.period) for each in await open_offers(booking_mesh)] == [(waiting, period())]
