"""Errors of the session service that need records in a certain state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from contracts.errors import (
    GymNotFound,
    InvitationNotFound,
    OfferNotFound,
    OfferNotOpen,
    SessionNotPendingApproval,
    SessionTakesNoGuests,
    UserNotActive,
    UserNotFound,
    WaitingListEntryNotFound,
)
from solo60.session.v1.session_pb2 import (
    ApproveSessionRequest,
    CancelSessionRequest,
    DeclineOfferRequest,
    InviteGuestRequest,
    JoinWaitingListRequest,
    RejectSessionRequest,
    RescheduleSessionRequest,
    SendSessionMailRequest,
)
from solo60.user.v1.user_pb2 import UpdateUserRequest, User, UserState
from tests.services.session.booking_mesh import HOUR, TOMORROW, book_request, period
from tests.services.session.offers.offering_mesh import claim, freed

if TYPE_CHECKING:
    from tests.services.session.booking_mesh import BookingMesh


async def test_a_confirmed_session_is_not_pending_approval(booking_mesh: BookingMesh) -> None:
    """A session in a gym without approval can be neither approved nor rejected."""
    session = await booking_mesh.book(book_request(await booking_mesh.create_member(), await booking_mesh.create_gym()))

    with pytest.raises(SessionNotPendingApproval):
        await booking_mesh.sessions.ApproveSession(ApproveSessionRequest(session_id=session.session_id))
    with pytest.raises(SessionNotPendingApproval):
        await booking_mesh.sessions.RejectSession(RejectSessionRequest(session_id=session.session_id, reason="no"))


async def test_a_cancelled_session_takes_no_guests(booking_mesh: BookingMesh) -> None:
    """A guest cannot be invited to a cancelled session."""
    session = await booking_mesh.book(book_request(await booking_mesh.create_member(), await booking_mesh.create_gym()))
    await booking_mesh.sessions.CancelSession(CancelSessionRequest(session_id=session.session_id))

    with pytest.raises(SessionTakesNoGuests):
        await booking_mesh.sessions.InviteGuest(
            InviteGuestRequest(session_id=session.session_id, email="grace@guests.example", name="Grace")
        )


@pytest.mark.parametrize(
    ("kind", "field", "error"),
    [
        ("GUEST_INVITED", "invitation_id", InvitationNotFound),
        ("SPOT_AVAILABLE", "entry_id", WaitingListEntryNotFound),
        ("SLOT_OFFERED", "offer_id", OfferNotFound),
    ],
)
async def test_a_mail_about_an_unknown_record_is_not_sent(
    booking_mesh: BookingMesh, kind: str, field: str, error: type[Exception]
) -> None:
    """A mail to an unknown guest or waiting member, or about an unknown offer, fails."""
    session = await booking_mesh.book(book_request(await booking_mesh.create_member(), await booking_mesh.create_gym()))
    fields: dict[str, Any] = {field: str(uuid4())}

    with pytest.raises(error):
        await booking_mesh.sessions.SendSessionMail(
            SendSessionMailRequest(session_id=session.session_id, template_key=kind, **fields)
        )


async def test_a_suspended_member_cannot_wait(booking_mesh: BookingMesh) -> None:
    """A suspended member cannot join a waiting list."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    await booking_mesh.book(book_request(await booking_mesh.create_member(), gym))
    request = UpdateUserRequest(user=User(user_id=member, state=UserState.USER_STATE_SUSPENDED))
    request.update_mask.paths.append("state")
    await booking_mesh.users.UpdateUser(request)

    with pytest.raises(UserNotActive):
        await booking_mesh.sessions.JoinWaitingList(JoinWaitingListRequest(user_id=member, gym_id=gym, period=period()))


async def test_a_claimed_offer_cannot_be_declined(booking_mesh: BookingMesh) -> None:
    """After its claim an offer is no longer open."""
    (offer,) = await freed(booking_mesh, await booking_mesh.create_member())
    await claim(booking_mesh, offer)

    with pytest.raises(OfferNotOpen):
        await booking_mesh.sessions.DeclineOffer(DeclineOfferRequest(offer_id=offer.offer_id))


async def test_a_member_or_gym_that_is_gone_is_named(booking_mesh: BookingMesh) -> None:
    """If the user or the gym service has lost a record, for example after a restore, the call names it."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    session = await booking_mesh.book(book_request(member, gym))
    (offer,) = await freed(booking_mesh, await booking_mesh.create_member())
    for service, table in (("user", "users"), ("gym", "gyms")):
        async with booking_mesh.mesh.database(service).connection() as connection:
            await connection.execute(f"delete from {table}")  # noqa: S608 - a constant

    with pytest.raises(UserNotFound):
        await claim(booking_mesh, offer)
    with pytest.raises(GymNotFound):
        await booking_mesh.sessions.RescheduleSession(
            RescheduleSessionRequest(
                session_id=session.session_id, period=period(TOMORROW + 2 * HOUR), etag=session.etag
            )
        )
