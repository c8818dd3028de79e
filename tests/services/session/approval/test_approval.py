from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from contracts.errors import SessionNotCancellable, SessionNotFound, SessionNotPendingApproval
from services.session.sessions.domain import Period, SessionStatus
from services.session.waiting_list.domain import WaitRequest
from solo60.payment.v1.payment_pb2 import RefundSessionRequest
from solo60.session.v1.session_pb2 import (
    SESSION_STATUS_CONFIRMED,
    SESSION_STATUS_REJECTED,
    ApproveSessionRequest,
    RejectSessionRequest,
)
from tests.services.session.booking_mesh import BY_CARD, book_request
from tests.services.session.stored_sessions import (
    HOUR,
    NOW,
    QUOTE,
    REFUND,
    book_session,
    pending_mails,
    pending_requests,
)

if TYPE_CHECKING:
    from mesh.data.database import Database
    from services.session.sessions.domain import Session
    from services.session.stores import Stores
    from tests.services.session.booking_mesh import BookingMesh


async def mails_about(database: Database, session: Session) -> list[str]:
    """Return the pending mails about a session, in order."""
    return [each.template_key for each in await pending_mails(database) if each.session_id == str(session.session_id)]


async def refunds(database: Database) -> list[RefundSessionRequest]:
    """Return the pending refunds."""
    return [RefundSessionRequest.FromString(each) for each in await pending_requests(database, REFUND)]


@pytest.mark.requirement("J3")
async def test_an_approved_session_is_confirmed_and_mailed(booking_mesh: BookingMesh) -> None:
    """Approving a session twice confirms it, and mails the member the approval and the gym's noise policy once."""
    member = await booking_mesh.create_member(email="ada@members.example")
    gym = await booking_mesh.create_gym(requires_approval=True, noise_policy="Quiet, please")
    booked = await booking_mesh.book(book_request(member, gym))

    for _ in range(2):
        answer = await booking_mesh.sessions.ApproveSession(ApproveSessionRequest(session_id=booked.session_id))
        assert answer.session.status == SESSION_STATUS_CONFIRMED

    assert await booking_mesh.find_session(booked.session_id) == answer.session
    subjects = [
        mail.subject.strip() for mail in await booking_mesh.wait_for_mails(3) if mail.recipient == "ada@members.example"
    ]
    assert sorted(subject.partition(":")[0] for subject in subjects) == ["Approved", "Please mind the noise"]
    assert await booking_mesh.payment_statuses(booked.session_id) == ["CAPTURED"]


@pytest.mark.requirement("J3")
async def test_a_rejected_session_is_refunded_and_its_slot_is_freed(booking_mesh: BookingMesh) -> None:
    """Rejecting a session frees its slot, refunds it and mails the reason; the second reason is ignored."""
    member = await booking_mesh.create_member(email="ada@members.example")
    gym = await booking_mesh.create_gym(requires_approval=True)
    booked = await booking_mesh.book(book_request(member, gym, by=BY_CARD))

    for reason in ("The floor is being painted", "Another reason"):
        request = RejectSessionRequest(session_id=booked.session_id, reason=reason)
        answer = await booking_mesh.sessions.RejectSession(request)
        assert answer.session.status == SESSION_STATUS_REJECTED

    assert await booking_mesh.busy_periods(gym) == []
    (mail,) = [mail for mail in await booking_mesh.wait_for_mails(2) if mail.recipient == "ada@members.example"]
    assert mail.subject.strip().startswith("Not approved: ")
    assert "Reason: The floor is being painted" in mail.body
    assert (await booking_mesh.find_session(booked.session_id)).cancel_reason == "The floor is being painted"
    assert await booking_mesh.payment_statuses(booked.session_id) == ["REFUNDED"]


@pytest.mark.requirement("A1")
async def test_approving_stores_its_mails_once(stores: Stores, database: Database) -> None:
    """Approving twice stores the mails to the member once, and no refund."""
    session = await book_session(stores.bookings, requires_approval=True)
    assert await mails_about(database, session) == ["APPROVAL_REQUESTED"]

    for _ in range(2):
        assert (await stores.approvals.approve(session.session_id, now=NOW)).status is SessionStatus.CONFIRMED

    assert await mails_about(database, session) == ["APPROVAL_REQUESTED", "SESSION_APPROVED", "NOISE_WARNING"]
    assert await refunds(database) == []


@pytest.mark.requirement("A1")
async def test_rejecting_stores_its_follow_ups_once(stores: Stores, database: Database) -> None:
    """Rejecting twice stores one refund and one mail each to the member, the guests and the waiting list."""
    session = await book_session(stores.bookings, requires_approval=True)
    request = WaitRequest(uuid4(), session.order.gym_id, session.order.period)
    async with stores.guests.transaction() as tx:
        await stores.guests.invite(tx, session.session_id, "grace@guests.example", "Grace", NOW)
        await stores.waiting_list.join(tx, request, QUOTE, NOW)

    for _ in range(2):
        assert (await stores.approvals.reject(session.session_id, "no", now=NOW)).status is SessionStatus.REJECTED

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
async def test_a_session_not_approved_before_its_start_is_rejected_and_refunded(
    stores: Stores, database: Database
) -> None:
    """A session pending approval is rejected and refunded at its start, without a mail to the waiting list."""
    session, other = [await book_session(stores.bookings, requires_approval=each) for each in (True, False)]
    request = WaitRequest(
        uuid4(), session.order.gym_id, Period(session.order.period.start, session.order.period.end + HOUR)
    )
    async with stores.waiting_list.transaction() as tx:
        await stores.waiting_list.join(tx, request, QUOTE, NOW)
    begins = session.order.period.start
    assert await stores.approvals.next_start_time() == begins

    await stores.approvals.reject_unapproved(begins - timedelta(seconds=1))
    assert await refunds(database) == []
    with pytest.raises(SessionNotPendingApproval):
        await stores.approvals.approve(session.session_id, now=begins)
    await stores.approvals.reject_unapproved(begins)
    assert await stores.approvals.next_start_time() is None

    found = await stores.sessions.find(session.session_id)
    assert (found.status, found.cancel_reason) == (SessionStatus.REJECTED, "Nobody approved it in time.")
    assert await mails_about(database, session) == ["APPROVAL_REQUESTED", "SESSION_REJECTED"]
    assert [UUID(each.session_id) for each in await refunds(database)] == [session.session_id]
    assert (await stores.sessions.find(other.session_id)) == other


async def test_one_of_several_concurrent_decisions_wins(stores: Stores, database: Database) -> None:
    """Of concurrent approval, rejection and cancellation one wins, and only its mails are stored.

    A cancellation may also follow the approval. The other calls fail.
    """
    mails_after = {
        SessionStatus.CONFIRMED: ["SESSION_APPROVED", "NOISE_WARNING"],
        SessionStatus.REJECTED: ["SESSION_REJECTED"],
        SessionStatus.CANCELLED: ["SESSION_CANCELLED"],
    }
    for _ in range(20):
        session = await book_session(stores.bookings, requires_approval=True)
        session_id = session.session_id
        answers = await asyncio.gather(
            stores.approvals.approve(session_id, now=NOW),
            stores.approvals.reject(session_id, "no", now=NOW),
            stores.cancellations.cancel(session_id, "", now=NOW, in_credits=False),
            return_exceptions=True,
        )

        found = await stores.sessions.find(session_id)
        decided = [answer.status for answer in answers if not isinstance(answer, BaseException)]
        # A cancellation after the approval cancels the confirmed session.
        assert decided in ([found.status], [SessionStatus.CONFIRMED, SessionStatus.CANCELLED])
        expected = [mail for status in decided for mail in mails_after[status]]
        assert await mails_about(database, session) == ["APPROVAL_REQUESTED", *expected]
        refused = {type(answer) for answer in answers if isinstance(answer, BaseException)}
        assert refused <= {SessionNotPendingApproval, SessionNotCancellable}


@pytest.mark.parametrize("status", ["confirmed", "cancelled", "completed"])
async def test_only_a_session_pending_approval_can_be_approved_or_rejected(
    stores: Stores, database: Database, status: str
) -> None:
    """Approving or rejecting a session that is not pending approval fails with SessionNotPendingApproval."""
    session = await book_session(stores.bookings)
    async with database.transaction() as connection:
        await connection.execute("update sessions set status = $1", status)

    with pytest.raises(SessionNotPendingApproval):
        await stores.approvals.approve(session.session_id, now=NOW)
    with pytest.raises(SessionNotPendingApproval):
        await stores.approvals.reject(session.session_id, "no", now=NOW)


async def test_an_unknown_session_cannot_be_approved_or_rejected(stores: Stores) -> None:
    """Approving or rejecting an unknown session fails with SessionNotFound."""
    with pytest.raises(SessionNotFound):
        await stores.approvals.approve(uuid4(), now=NOW)
    with pytest.raises(SessionNotFound):
        await stores.approvals.reject(uuid4(), "no", now=NOW)
