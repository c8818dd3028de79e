"""What calling a session off entails for others than its member, whatever breaks on the way."""

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

# Those that a caller waits for are broken once, which its client's own retry gets over; the others more often.
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
    """Start the services anew with a fault in each of the calls."""
    faults = []
    for name, methods in BROKEN.items():
        own = [Fault(method, when, times) for method, times in methods.items()]
        await town.stop(name)
        await town.mesh.start(replace(SERVICES[name], interceptors=tuple(own)), town.urls[name])
        faults += own
    return faults


async def call_off(town: Town) -> str:
    """Reject a session that has a guest, and one who waits for its slot; return its id."""
    ada, edsger = [await town.a_member(email=f"{name}@members.example") for name in ("ada", "edsger")]
    gym = await town.a_gym(name="Field Street Gym", requires_approval=True)
    session_id = (await town.booked(order(ada, gym))).session_id
    guest = InviteGuestRequest(session_id=session_id, email="grace@guests.example", name="Grace Hopper")
    await town.sessions.InviteGuest(guest)
    await town.sessions.JoinWaitingList(JoinWaitingListRequest(user_id=edsger, gym_id=gym, period=period()))
    await town.sessions.RejectSession(RejectSessionRequest(session_id=session_id, reason="It is closed"))
    return session_id


async def told(town: Town) -> Counter[tuple[str, str]]:
    """Count what everybody has been told, by name and subject; repetitions with one Message-ID are one."""
    mails = {mail.message_id: mail for mail in await town.mails(0)}
    return Counter(
        (mail.recipient.partition("@")[0], mail.subject.strip().partition(":")[0]) for mail in mails.values()
    )


@pytest.mark.parametrize("when", [When.BEFORE, When.AFTER], ids=["not reached", "answer lost"])
async def test_everybody_is_told_once_whatever_is_cut_off_on_the_way(town: Town, when: When) -> None:
    """A rejection gives the price back once, and each of those concerned has one mail of each kind."""
    faults = await break_all(town, when)

    session_id = await call_off(town)

    assert await told(town) == EVERYBODY_ONCE
    assert (await town.session(session_id)).status == SESSION_STATUS_REJECTED
    assert await town.payment_statuses(session_id) == ["REFUNDED"]
    assert {fault.left for fault in faults} == {0}


@pytest.mark.requirement("J6")
async def test_everybody_is_told_when_mail_and_payment_are_back(town: Town) -> None:
    """The slot is free at once; what is owed waits in the outbox, also for another process."""
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
