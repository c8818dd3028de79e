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
from tests.services.session.faults import Fault, When
from tests.services.session.town import SERVICES, order, period

if TYPE_CHECKING:
    from tests.services.session.town import Town

# Calls that a caller waits for fail once, which gRPC's retries cover. Background calls fail more often.
BROKEN = {
    "session": {"InviteGuest": 1, "JoinWaitingList": 1, "RejectSession": 1, "SendSessionMail": 4},
    "payment": {"RefundSession": 4},
    "communication": {"SendSystemNotification": 4, "SendEmailAsync": 4},
}
EVERYBODY_ONCE = {
    ("admins", "To be approved"): 1,
    ("grace", "“Ada Byron” invites you to train at Field Street Gym"): 1,
    ("grace", "Your invitation to Field Street Gym is cancelled"): 1,
    ("ada", "Not approved"): 1,
    ("edsger", "Free again"): 1,
}


async def break_all(town: Town, when: When) -> list[Fault]:
    """Restart the services with a fault in each of these calls."""
    faults = []
    for name, methods in BROKEN.items():
        own = [Fault(method, when, times) for method, times in methods.items()]
        await town.stop(name)
        await town.mesh.start(replace(SERVICES[name], interceptors=tuple(own)), town.urls[name])
        faults += own
    return faults


async def rejected_session(town: Town) -> str:
    """Reject a session that has a guest and a waiting member, and return its id."""
    ada, edsger = [await town.a_member(email=f"{name}@members.example") for name in ("ada", "edsger")]
    gym = await town.a_gym(name="Field Street Gym", requires_approval=True)
    session_id = (await town.booked(order(ada, gym))).session_id
    guest = InviteGuestRequest(session_id=session_id, email="grace@guests.example", name="Grace Hopper")
    await town.sessions.InviteGuest(guest)
    await town.sessions.JoinWaitingList(JoinWaitingListRequest(user_id=edsger, gym_id=gym, period=period()))
    await town.sessions.RejectSession(RejectSessionRequest(session_id=session_id, reason="It is closed"))
    return session_id


async def count_mails(town: Town) -> Counter[tuple[str, str]]:
    """Count mails by recipient and subject. Repetitions with one Message-ID count once."""
    mails = {mail.message_id: mail for mail in await town.mails(0)}
    return Counter(
        (mail.recipient.partition("@")[0], mail.subject.strip().partition(":")[0]) for mail in mails.values()
    )


@pytest.mark.parametrize("when", [When.BEFORE, When.AFTER], ids=["not reached", "answer lost"])
async def test_each_mail_about_a_rejection_arrives_once_despite_faults(town: Town, when: When) -> None:
    """Despite a fault in each call, a rejection refunds once, and each person concerned gets each mail once."""
    faults = await break_all(town, when)

    session_id = await rejected_session(town)

    assert await count_mails(town) == EVERYBODY_ONCE
    assert (await town.session(session_id)).status == SESSION_STATUS_REJECTED
    assert await town.payment_statuses(session_id) == ["REFUNDED"]
    assert {fault.left for fault in faults} == {0}


@pytest.mark.requirement("J6")
async def test_mails_and_refund_follow_after_an_outage_of_mail_and_payment(town: Town) -> None:
    """A rejection during an outage frees the slot at once. Refund and mails follow later, even from a new process."""
    member, gym = await town.a_member(), await town.a_gym(requires_approval=True)
    session = await town.booked(order(member, gym))
    await town.settled()
    await town.stop("payment")
    await town.stop("communication")
    guest = InviteGuestRequest(session_id=session.session_id, email="grace@guests.example", name="Grace Hopper")
    await town.sessions.InviteGuest(guest)

    await town.sessions.RejectSession(RejectSessionRequest(session_id=session.session_id, reason="It is closed"))

    assert await town.busy(gym) == []
    await town.stop("session")
    for name in ("payment", "communication", "session"):
        await town.start(name)
    assert len(await town.mails(4)) == 4
    assert await town.balance(member) == 100
