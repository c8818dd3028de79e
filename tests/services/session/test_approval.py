from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from contracts.errors import SessionNotCancellable, SessionNotFound, SessionNotPendingApproval
from services.session.domain import Period, Status, Wish
from solo60.payment.v1.payment_pb2 import RefundSessionRequest
from solo60.session.v1.session_pb2 import (
    SESSION_STATUS_CONFIRMED,
    SESSION_STATUS_REJECTED,
    ApproveSessionRequest,
    RejectSessionRequest,
)
from tests.services.session.made import HOUR, NOW, REFUND, left_to_do, letters, paid
from tests.services.session.stores import stores_on
from tests.services.session.town import BY_CARD, order

if TYPE_CHECKING:
    from mesh.database import Database
    from services.session.domain import Session
    from services.session.stores import Stores
    from tests.services.session.town import Town
    from tests.support.postgres import DatabaseOpener


@pytest.fixture
async def database(open_database: DatabaseOpener) -> Database:
    """Connect to a database of sessions that no service runs on."""
    return await open_database("session")


@pytest.fixture
def stores(database: Database) -> Stores:
    """Keep sessions in it and decide upon them."""
    return stores_on(database)


async def mails_about(database: Database, session: Session) -> list[str]:
    """Return the mails about a session that are to be sent, in their order."""
    return [each.template_key for each in await letters(database) if each.session_id == str(session.session_id)]


async def refunds(database: Database) -> list[RefundSessionRequest]:
    """Return the refunds that are to be made."""
    return [RefundSessionRequest.FromString(each) for each in await left_to_do(database, REFUND)]


@pytest.mark.requirement("J3")
async def test_an_approved_session_is_confirmed_and_mailed(town: Town) -> None:
    """The member is told, and warned where the gym asks for it."""
    member = await town.a_member(email="ada@members.example")
    gym = await town.a_gym(requires_approval=True, noise_policy="Quiet, please")
    booked = await town.booked(order(member, gym))

    for _ in range(2):
        answer = await town.sessions.ApproveSession(ApproveSessionRequest(session_id=booked.session_id))
        assert answer.session.status == SESSION_STATUS_CONFIRMED

    assert await town.session(booked.session_id) == answer.session
    subjects = [mail.subject.strip() for mail in await town.mails(3) if mail.recipient == "ada@members.example"]
    assert sorted(subject.partition(":")[0] for subject in subjects) == ["Approved", "Please mind the noise"]
    assert await town.payment_statuses(booked.session_id) == ["CAPTURED"]


@pytest.mark.requirement("J3")
async def test_a_rejected_session_is_given_back_and_its_slot_is_free(town: Town) -> None:
    """The member is told the reason, and the first one stands."""
    member, gym = await town.a_member(email="ada@members.example"), await town.a_gym(requires_approval=True)
    booked = await town.booked(order(member, gym, by=BY_CARD))

    for reason in ("The floor is being painted", "Another reason"):
        request = RejectSessionRequest(session_id=booked.session_id, reason=reason)
        answer = await town.sessions.RejectSession(request)
        assert answer.session.status == SESSION_STATUS_REJECTED

    assert await town.busy(gym) == []
    (mail,) = [mail for mail in await town.mails(2) if mail.recipient == "ada@members.example"]
    assert mail.subject.strip().startswith("Not approved: ")
    assert "Reason: The floor is being painted" in mail.body
    assert (await town.session(booked.session_id)).cancel_reason == "The floor is being painted"
    assert await town.payment_statuses(booked.session_id) == ["REFUNDED"]


@pytest.mark.requirement("A1")
async def test_approving_is_written_with_what_follows(stores: Stores, database: Database) -> None:
    """The admins are asked once, and the member is told once."""
    session = await paid(stores.sessions, requires_approval=True)
    assert await mails_about(database, session) == ["APPROVAL_REQUESTED"]

    for _ in range(2):
        assert (await stores.decisions.approve(session.session_id, now=NOW)).status is Status.CONFIRMED

    assert await mails_about(database, session) == ["APPROVAL_REQUESTED", "SESSION_APPROVED", "NOISE_WARNING"]
    assert await refunds(database) == []


@pytest.mark.requirement("A1")
async def test_rejecting_is_written_with_what_follows(stores: Stores, database: Database) -> None:
    """Refund, member, guests and those who wait, in one transaction and once."""
    session = await paid(stores.sessions, requires_approval=True)
    wish = Wish(uuid4(), session.order.gym_id, session.order.period)
    async with stores.guests.transaction() as transaction:
        await stores.guests.invite(transaction, session.session_id, "grace@guests.example", "Grace", NOW)
        await stores.waiting_list.join(transaction, wish, NOW)

    for _ in range(2):
        assert (await stores.decisions.reject(session.session_id, "no", now=NOW)).status is Status.REJECTED

    assert await mails_about(database, session) == [
        "APPROVAL_REQUESTED",
        "GUEST_INVITED",
        "SESSION_REJECTED",
        "GUEST_SESSION_CANCELLED",
        "SPOT_AVAILABLE",
    ]
    assert await refunds(database) == [
        RefundSessionRequest(session_id=str(session.session_id), reason="session rejected")
    ]


@pytest.mark.requirement("J3")
async def test_what_nobody_has_approved_when_it_begins_is_rejected_and_given_back(
    stores: Stores, database: Database
) -> None:
    """Nobody pays for a session that never was, and nobody is told of a slot that is past."""
    session, other = [await paid(stores.sessions, requires_approval=each) for each in (True, False)]
    wish = Wish(uuid4(), session.order.gym_id, Period(session.order.period.start, session.order.period.end + HOUR))
    async with stores.waiting_list.transaction() as transaction:
        await stores.waiting_list.join(transaction, wish, NOW)
    begins = session.order.period.start

    await stores.decisions.reject_unapproved(begins - timedelta(seconds=1))
    assert await refunds(database) == []
    with pytest.raises(SessionNotPendingApproval):
        await stores.decisions.approve(session.session_id, now=begins)
    await stores.decisions.reject_unapproved(begins)

    found = await stores.sessions.find(session.session_id)
    assert found is not None
    assert (found.status, found.cancel_reason) == (Status.REJECTED, "Nobody approved it in time.")
    assert await mails_about(database, session) == ["APPROVAL_REQUESTED", "SESSION_REJECTED"]
    assert [UUID(each.session_id) for each in await refunds(database)] == [session.session_id]
    assert (await stores.sessions.find(other.session_id)) == other


async def test_of_those_who_decide_at_once_one_does(stores: Stores, database: Database) -> None:
    """One terminal state: what follows is what follows from it, and the others are told that they came late."""
    mails_after = {
        Status.CONFIRMED: ["SESSION_APPROVED", "NOISE_WARNING"],
        Status.REJECTED: ["SESSION_REJECTED"],
        Status.CANCELLED: ["SESSION_CANCELLED"],
    }
    for _ in range(20):
        session = await paid(stores.sessions, requires_approval=True)
        session_id, decisions = session.session_id, stores.decisions
        answers = await asyncio.gather(
            decisions.approve(session_id, now=NOW),
            decisions.reject(session_id, "no", now=NOW),
            decisions.cancel(session_id, "", now=NOW, in_credits=False),
            return_exceptions=True,
        )

        found = await stores.sessions.find(session_id)
        assert found is not None
        decided = [answer.status for answer in answers if not isinstance(answer, BaseException)]
        # Who cancels after the approval cancels what is confirmed.
        assert decided in ([found.status], [Status.CONFIRMED, Status.CANCELLED])
        expected = [mail for status in decided for mail in mails_after[status]]
        assert await mails_about(database, session) == ["APPROVAL_REQUESTED", *expected]
        refused = {type(answer) for answer in answers if isinstance(answer, BaseException)}
        assert refused <= {SessionNotPendingApproval, SessionNotCancellable}


@pytest.mark.parametrize("status", ["confirmed", "cancelled", "completed"])
async def test_what_does_not_wait_for_approval_is_neither_approved_nor_rejected(
    stores: Stores, database: Database, status: str
) -> None:
    """The reason says so, also of a session that never needed approval."""
    session = await paid(stores.sessions)
    async with database.transaction() as connection:
        await connection.execute("update sessions set status = $1", status)

    with pytest.raises(SessionNotPendingApproval):
        await stores.decisions.approve(session.session_id, now=NOW)
    with pytest.raises(SessionNotPendingApproval):
        await stores.decisions.reject(session.session_id, "no", now=NOW)


async def test_an_unknown_session_is_neither_approved_nor_rejected(stores: Stores) -> None:
    """The reason names what is missing."""
    with pytest.raises(SessionNotFound):
        await stores.decisions.approve(uuid4(), now=NOW)
    with pytest.raises(SessionNotFound):
        await stores.decisions.reject(uuid4(), "no", now=NOW)
