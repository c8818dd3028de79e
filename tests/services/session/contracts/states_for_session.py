"""States of the session service in which its own later calls have expectations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from services.session.offers.domain import CLAIM_DURATION
from solo60.gym.v1.events_pb2 import WaitingListModeChanged
from solo60.gym.v1.gym_pb2 import WAITING_LIST_MODE_OFFER_ONE
from solo60.session.v1 import session_pb2 as pb
from tests.services.session.booking_mesh import HOUR, TOMORROW, BookingMesh, book_request, period

if TYPE_CHECKING:
    from tests.support.consumers import States
    from tests.support.serving import MeshForTests

_OFFER_TO = """
    select offer_id::text, offers.session_id::text from offers join waiting_list using (entry_id) where user_id = $1
"""


async def no_session(_mesh: MeshForTests) -> dict[str, object]:
    """Return the id of a session that does not exist."""
    return {"session_id": str(uuid4())}


async def a_booked_session(mesh: MeshForTests) -> dict[str, object]:
    """Book a session."""
    return {"session_id": (await _book(mesh)).session_id}


async def a_booked_session_in_a_gym_with_a_noise_policy(mesh: MeshForTests) -> dict[str, object]:
    """Book a session."""
    return {"session_id": (await _book(mesh, noise_policy="Quiet, please")).session_id}


async def a_session_that_waits_for_approval(mesh: MeshForTests) -> dict[str, object]:
    """Book a session in a gym that requires approval."""
    return {"session_id": (await _book(mesh, requires_approval=True)).session_id}


async def an_approved_session(mesh: MeshForTests) -> dict[str, object]:
    """Approve a session."""
    session_id = (await _book(mesh, requires_approval=True)).session_id
    await _of(mesh).sessions.ApproveSession(pb.ApproveSessionRequest(session_id=session_id))
    return {"session_id": session_id}


async def a_rejected_session(mesh: MeshForTests) -> dict[str, object]:
    """Reject a session."""
    session_id = (await _book(mesh, requires_approval=True)).session_id
    await _of(mesh).sessions.RejectSession(pb.RejectSessionRequest(session_id=session_id, reason="closed"))
    return {"session_id": session_id}


async def a_cancelled_session(mesh: MeshForTests) -> dict[str, object]:
    """Cancel a session without guests."""
    session = await _book(mesh)
    await _cancel(mesh, session)
    return {"session_id": session.session_id}


async def a_moved_session(mesh: MeshForTests) -> dict[str, object]:
    """Move a session without guests."""
    session = await _book(mesh)
    await _move(mesh, session)
    return {"session_id": session.session_id}


async def a_booked_session_with_a_guest(mesh: MeshForTests) -> dict[str, object]:
    """Book a session, and invite a guest."""
    return await _with_guest(mesh, await _book(mesh))


async def a_cancelled_session_with_a_guest(mesh: MeshForTests) -> dict[str, object]:
    """Invite a guest to a session, and cancel it."""
    session = await _book(mesh)
    state = await _with_guest(mesh, session)
    await _cancel(mesh, session)
    return state


async def a_moved_session_with_a_guest(mesh: MeshForTests) -> dict[str, object]:
    """Invite a guest to a session, and move it."""
    session = await _book(mesh)
    state = await _with_guest(mesh, session)
    await _move(mesh, session)
    return state


async def a_cancelled_session_with_a_waiting_member(mesh: MeshForTests) -> dict[str, object]:
    """Let a member wait for the slot of a session, and cancel the session."""
    session = await _book(mesh)
    state = await _with_waiting_member(mesh, session)
    await _cancel(mesh, session)
    return state


async def a_moved_session_with_a_waiting_member(mesh: MeshForTests) -> dict[str, object]:
    """Let a member wait for the slot of a session, and move the session."""
    session = await _book(mesh)
    state = await _with_waiting_member(mesh, session)
    await _move(mesh, session)
    return state


async def an_open_offer(mesh: MeshForTests) -> dict[str, object]:
    """Offer the slot of a cancelled session to the member who waits for it."""
    session = await _book(mesh)
    event = WaitingListModeChanged(gym_id=session.gym_id, waiting_list_mode=WAITING_LIST_MODE_OFFER_ONE)
    await _of(mesh).sessions.OnWaitingListModeChanged(pb.OnWaitingListModeChangedRequest(event=event))
    entry = await _wait_for(mesh, session)
    await _cancel(mesh, session)
    async with mesh.database("session").connection() as connection:
        row = await connection.fetchrow(_OFFER_TO, UUID(entry.user_id))
    assert row is not None
    return dict(row)


async def an_unclaimed_offer(mesh: MeshForTests) -> dict[str, object]:
    """Let the time for the claim of an offer pass."""
    offer = await an_open_offer(mesh)
    mesh.clock.advance(CLAIM_DURATION)
    return {"offer_id": offer["offer_id"]}


async def no_offer(_mesh: MeshForTests) -> dict[str, object]:
    """Return the id of an offer that does not exist."""
    return {"offer_id": str(uuid4())}


async def a_session_without_guests(mesh: MeshForTests) -> dict[str, object]:
    """Book a session, and return the id of an invitation that does not exist."""
    return {**await a_booked_session(mesh), "invitation_id": str(uuid4())}


async def a_session_without_waiting_members(mesh: MeshForTests) -> dict[str, object]:
    """Book a session, and return the id of an entry that does not exist."""
    return {**await a_booked_session(mesh), "entry_id": str(uuid4())}


async def a_session_without_offers(mesh: MeshForTests) -> dict[str, object]:
    """Book a session, and return the id of an offer that does not exist."""
    return {**await a_booked_session(mesh), **await no_offer(mesh)}


def _of(mesh: MeshForTests) -> BookingMesh:
    """Return the shortcuts for calls. No service is restarted, and no mail is read."""
    return BookingMesh(mesh, {}, Path())


async def _book(mesh: MeshForTests, **gym: object) -> pb.Session:
    """Book an hour of a new member in a new gym."""
    booking_mesh = _of(mesh)
    return await booking_mesh.book(
        book_request(await booking_mesh.create_member(), await booking_mesh.create_gym(**gym))
    )


async def _cancel(mesh: MeshForTests, session: pb.Session) -> None:
    await _of(mesh).sessions.CancelSession(pb.CancelSessionRequest(session_id=session.session_id))


async def _move(mesh: MeshForTests, session: pb.Session) -> None:
    request = pb.RescheduleSessionRequest(
        session_id=session.session_id, period=period(TOMORROW + HOUR), etag=session.etag
    )
    await _of(mesh).sessions.RescheduleSession(request)


async def _with_guest(mesh: MeshForTests, session: pb.Session) -> dict[str, object]:
    """Invite a guest, and return the ids of the session and the invitation."""
    request = pb.InviteGuestRequest(
        session_id=session.session_id, email=f"{uuid4().hex}@guests.example", name="Grace Hopper"
    )
    guest = (await _of(mesh).sessions.InviteGuest(request)).guest
    return {"session_id": session.session_id, "invitation_id": guest.invitation_id}


async def _with_waiting_member(mesh: MeshForTests, session: pb.Session) -> dict[str, object]:
    """Let a member wait for the slot, and return the session's id and period, and the id of the entry."""
    entry = await _wait_for(mesh, session)
    return {"session_id": session.session_id, "entry_id": entry.entry_id, "free_period": session.period}


async def _wait_for(mesh: MeshForTests, session: pb.Session) -> pb.WaitingListEntry:
    booking_mesh = _of(mesh)
    user_id = await booking_mesh.create_member()
    request = pb.JoinWaitingListRequest(user_id=user_id, gym_id=session.gym_id, period=session.period)
    return (await booking_mesh.sessions.JoinWaitingList(request)).entry


STATES: States = {
    "a booked session": a_booked_session,
    "a booked session in a gym with a noise policy": a_booked_session_in_a_gym_with_a_noise_policy,
    "a booked session with a guest": a_booked_session_with_a_guest,
    "a cancelled session": a_cancelled_session,
    "a cancelled session with a guest": a_cancelled_session_with_a_guest,
    "a cancelled session with a waiting member": a_cancelled_session_with_a_waiting_member,
    "a moved session": a_moved_session,
    "a moved session with a guest": a_moved_session_with_a_guest,
    "a moved session with a waiting member": a_moved_session_with_a_waiting_member,
    "a rejected session": a_rejected_session,
    "a session that waits for approval": a_session_that_waits_for_approval,
    "a session without guests": a_session_without_guests,
    "a session without offers": a_session_without_offers,
    "a session without waiting members": a_session_without_waiting_members,
    "an approved session": an_approved_session,
    "an open offer": an_open_offer,
    "an unclaimed offer": an_unclaimed_offer,
    "no offer": no_offer,
    "no session": no_session,
}
