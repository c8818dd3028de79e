"""Follow-ups of a rejected session for its guest, the admins and the waiting list, despite faults and outages."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from solo60.session.v1.session_pb2 import (
    SESSION_STATUS_REJECTED,
    InviteGuestRequest,
    JoinWaitingListRequest,
    RejectSessionRequest,
)
from tests.services.session.booking_mesh import SERVICES, book_request, period
from tests.services.session.faults import Fault, FaultKind

if TYPE_CHECKING:
    from tests.services.session.booking_mesh import BookingMesh

# Calls that a caller waits for fail once, which gRPC's retries cover. Background calls fail more often.
BROKEN = {
    "session": {"InviteGuest": 1, "JoinWaitingList": 1, "RejectSession": 1, "SendSessionMail": 4},
    "payment": {"RefundSession": 4},
    "communication": {"SendSystemNotification": 4, "SendEmailAsync": 4},
}
EXPECTED_MAILS = {
    ("admins", "Approval needed"): 1,
    ("grace", "“Ada Byron” invites you to train at Field Street Gym"): 1,
    ("grace", "Your invitation to Field Street Gym is cancelled"): 1,
    ("ada", "Not approved"): 1,
    ("edsger", "Free again"): 1,
}


async def break_all(booking_mesh: BookingMesh, kind: FaultKind) -> list[Fault]:
    """Restart the services with a fault in each of these calls."""
    faults = []
    for name, methods in BROKEN.items():
        own = [Fault(method, kind, times) for method, times in methods.items()]
        await booking_mesh.stop(name)
        await booking_mesh.mesh.start(replace(SERVICES[name], interceptors=tuple(own)), booking_mesh.urls[name])
        faults += own
    return faults


async def rejected_session(booking_mesh: BookingMesh) -> str:
    """Reject a session that has a guest and a waiting member, and return its id."""
    ada, edsger = [await booking_mesh.create_member(email=f"{name}@members.example") for name in ("ada", "edsger")]
    gym = await booking_mesh.create_gym(name="Field Street Gym", requires_approval=True)
    session_id = (await booking_mesh.book(book_request(ada, gym))).session_id
    guest = InviteGuestRequest(session_id=session_id, email="grace@guests.example", name="Grace Hopper")
    await booking_mesh.sessions.InviteGuest(guest)
    await booking_mesh.sessions.JoinWaitingList(JoinWaitingListRequest(user_id=edsger, gym_id=gym, period=period()))
    await booking_mesh.sessions.RejectSession(RejectSessionRequest(session_id=session_id, reason="It is closed"))
    return session_id


async def count_mails(booking_mesh: BookingMesh) -> Counter[tuple[str, str]]:
    """Count mails by recipient and subject. Repetitions with one Message-ID count once."""
    mails = {mail.message_id: mail for mail in await booking_mesh.wait_for_mails(0)}
    return Counter(
        (mail.recipient.partition("@")[0], mail.subject.strip().partition(":")[0]) for mail in mails.values()
    )


@pytest.mark.parametrize("kind", [FaultKind.CALL_LOST, FaultKind.ANSWER_LOST], ids=["not reached", "answer lost"])
async def test_each_mail_about_a_rejection_arrives_once_despite_faults(
    booking_mesh: BookingMesh, kind: FaultKind
) -> None:
    """Despite a fault in each call, a rejection refunds once, and each person concerned gets each mail once."""
    faults = await break_all(booking_mesh, kind)

    session_id = await rejected_session(booking_mesh)

    assert await count_mails(booking_mesh) == EXPECTED_MAILS
    assert (await booking_mesh.find_session(session_id)).status == SESSION_STATUS_REJECTED
    assert await booking_mesh.payment_statuses(session_id) == ["REFUNDED"]
    assert {fault.remaining for fault in faults} == {0}


@pytest.mark.requirement("J6")
async def test_mails_and_refund_follow_after_an_outage_of_mail_and_payment(booking_mesh: BookingMesh) -> None:
    """A rejection during an outage frees the slot at once. Refund and mails follow later, even from a new process."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym(requires_approval=True)
    session = await booking_mesh.book(book_request(member, gym))
    await booking_mesh.wait_until_settled()
    await booking_mesh.stop("payment")
    await booking_mesh.stop("communication")
    guest = InviteGuestRequest(session_id=session.session_id, email="grace@guests.example", name="Grace Hopper")
    await booking_mesh.sessions.InviteGuest(guest)

    await booking_mesh.sessions.RejectSession(
        RejectSessionRequest(session_id=session.session_id, reason="It is closed")
    )

    assert await booking_mesh.busy_periods(gym) == []
    await booking_mesh.stop("session")
    for name in ("payment", "communication", "session"):
        await booking_mesh.start(name)
    assert len(await booking_mesh.wait_for_mails(4)) == 4
    assert await booking_mesh.balance(member) == 100
