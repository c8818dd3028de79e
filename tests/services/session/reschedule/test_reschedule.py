from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from contracts.errors import (
    EtagMismatch,
    GymClosed,
    PeriodPast,
    PriceDiffers,
    ScopeMissing,
    SessionNotFound,
    SessionNotReschedulable,
    SlotTaken,
)
from interceptors.idempotency import REPLAYED
from solo60.gym.v1.gym_pb2 import GetGymRequest, OpeningHours, UpdateGymRequest
from solo60.session.v1.session_pb2 import (
    SESSION_STATUS_CONFIRMED,
    SESSION_STATUS_PENDING_APPROVAL,
    ApproveSessionRequest,
    CancelSessionRequest,
    InviteGuestRequest,
    JoinWaitingListRequest,
    RescheduleSessionRequest,
    Session,
)
from solo60.session.v1.session_pb2_grpc import SessionServiceStub
from tests.services.session.booking_mesh import BY_CARD, HOUR, TOMORROW, book_request, period, with_key
from tests.services.session.faults import FaultKind, break_service

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from tests.services.session.booking_mesh import BookingMesh

LATER = TOMORROW + 2 * HOUR


def move_request(session: Session, start: datetime = LATER, length: timedelta = HOUR) -> RescheduleSessionRequest:
    """Return a request to move a session, by default to an hour that begins two hours later."""
    return RescheduleSessionRequest(session_id=session.session_id, period=period(start, length), etag=session.etag)


async def move(booking_mesh: BookingMesh, session: Session, start: datetime = LATER) -> Session:
    """Move a session to another hour."""
    return (await booking_mesh.sessions.RescheduleSession(move_request(session, start))).session


async def booked(booking_mesh: BookingMesh, **fields: object) -> Session:
    """Book an hour tomorrow for a new member in a new gym."""
    gym = await booking_mesh.create_gym(name="Field Street Gym", **fields)
    return await booking_mesh.book(book_request(await booking_mesh.create_member(), gym))


@pytest.mark.requirement("J1")
async def test_a_session_is_moved_and_everybody_is_told(booking_mesh: BookingMesh) -> None:
    """A moved session keeps id, price and guests. Member and guest get a mail, and so do members who wait for the slot.

    The old slot is free, and the new one is not.
    """
    session = await booked(booking_mesh)
    await booking_mesh.sessions.InviteGuest(
        InviteGuestRequest(session_id=session.session_id, email="grace@guests.example", name="Grace")
    )
    waiting = await booking_mesh.create_member(email="edsger@members.example")
    request = JoinWaitingListRequest(user_id=waiting, gym_id=session.gym_id, period=period())
    await booking_mesh.sessions.JoinWaitingList(request)

    moved = await move(booking_mesh, session)

    assert await booking_mesh.find_session(session.session_id) == moved
    assert (moved.period, moved.status, moved.price) == (period(LATER), SESSION_STATUS_CONFIRMED, session.price)
    assert moved.etag != session.etag
    assert await booking_mesh.busy_periods(session.gym_id, length=4 * HOUR) == [period(LATER)]
    assert await booking_mesh.payment_statuses(session.session_id) == ["CAPTURED"]
    mails = [(mail.recipient, mail.subject.strip()) for mail in await booking_mesh.wait_for_mails(5)]
    assert sum(subject.startswith("Moved: Field Street Gym") for _, subject in mails) == 2
    assert ("grace@guests.example", f"Moved: Field Street Gym, {shown(LATER)} (Europe/London)") in mails
    assert ("edsger@members.example", f"Free again: Field Street Gym, {shown(TOMORROW)} (UTC)") in mails


def shown(time: datetime) -> str:
    """Return a winter time in UTC or London as mails show it."""
    return f"{time:%A} {time.day} {time:%B %Y, %H:%M}"


async def test_each_move_is_mailed(booking_mesh: BookingMesh) -> None:
    """A session that is moved there, back and there again causes three mails."""
    session = await booked(booking_mesh)
    for start in (LATER, TOMORROW, LATER):
        session = await move(booking_mesh, session, start)
        await booking_mesh.wait_until_settled()

    subjects = [mail.subject.strip() for mail in await booking_mesh.wait_for_mails(4)]

    assert sum(subject.startswith("Moved:") for subject in subjects) == 3


async def test_a_move_may_overlap_the_old_period(booking_mesh: BookingMesh) -> None:
    """A session may move by half of its length. The waiting list hears of the part that became free."""
    session = await booked(booking_mesh)
    waiting = [await booking_mesh.create_member(email=f"{name}@members.example") for name in ("ada", "edsger")]
    for member, start in zip(waiting, (TOMORROW, TOMORROW + HOUR / 2), strict=True):
        request = JoinWaitingListRequest(user_id=member, gym_id=session.gym_id, period=period(start, HOUR / 2))
        await booking_mesh.sessions.JoinWaitingList(request)

    await move(booking_mesh, session, TOMORROW + HOUR / 2)

    mails = {mail.recipient: mail for mail in await booking_mesh.wait_for_mails(3)}
    assert "ada@members.example" in mails
    assert "edsger@members.example" not in mails


async def test_an_impossible_move_is_rejected_and_changes_nothing(booking_mesh: BookingMesh) -> None:
    """A move to a taken, past, closed or dearer period, or of an unknown or cancelled session, is rejected."""
    hours = OpeningHours(opens_minute=0, closes_minute=23 * 60)
    session = await booked(booking_mesh, opening_hours=hours)
    other = await booking_mesh.book(
        book_request(await booking_mesh.create_member(), session.gym_id, start=LATER, by=BY_CARD)
    )
    cancelled = await booking_mesh.book(
        book_request(await booking_mesh.create_member(), session.gym_id, start=LATER + HOUR)
    )
    await booking_mesh.sessions.CancelSession(CancelSessionRequest(session_id=cancelled.session_id))
    unknown = Session(session_id=str(uuid4()), etag=session.etag)

    for request, refusal in (
        (move_request(session, LATER + HOUR / 2), SlotTaken),
        (move_request(session, TOMORROW - 48 * HOUR), PeriodPast),
        (move_request(session, TOMORROW.replace(hour=23)), GymClosed),
        (move_request(session, LATER + HOUR, 2 * HOUR), PriceDiffers),
        (move_request(other, LATER + HOUR, HOUR / 2), PriceDiffers),
        (move_request(unknown), SessionNotFound),
        (move_request(await booking_mesh.find_session(cancelled.session_id), LATER + HOUR), SessionNotReschedulable),
        (move_request(Session(session_id=session.session_id, etag="0" * 32), LATER + HOUR), EtagMismatch),
    ):
        with pytest.raises(refusal):
            await booking_mesh.sessions.RescheduleSession(request)

    assert await booking_mesh.find_session(session.session_id) == session
    assert await booking_mesh.busy_periods(session.gym_id, length=4 * HOUR) == [period(), period(LATER)]


async def test_a_session_that_has_started_cannot_be_moved(booking_mesh: BookingMesh) -> None:
    """A session that has started is not moved, although it is still confirmed."""
    session = await booked(booking_mesh)
    async with booking_mesh.mesh.database("session").transaction() as connection:
        begin = "update sessions set period = tstzrange(now() - interval '1 minute', now() + interval '1 hour')"
        await connection.execute(begin)

    with pytest.raises(SessionNotReschedulable):
        await move(booking_mesh, await booking_mesh.find_session(session.session_id))


async def test_a_price_that_the_gym_has_changed_is_rejected(booking_mesh: BookingMesh) -> None:
    """After a change of the price in credits, a session paid in credits cannot move, and one paid by card can."""
    session = await booked(booking_mesh)
    by_card = await booking_mesh.book(
        book_request(await booking_mesh.create_member(), session.gym_id, start=LATER, by=BY_CARD)
    )
    gym = (await booking_mesh.gyms.GetGym(GetGymRequest(gym_id=session.gym_id))).gym
    gym.credits_per_hour += 1
    await booking_mesh.gyms.UpdateGym(UpdateGymRequest(gym=gym, update_mask=FieldMask(paths=["credits_per_hour"])))

    with pytest.raises(PriceDiffers):
        await move(booking_mesh, session, LATER + HOUR)
    assert (await move(booking_mesh, by_card, LATER + HOUR)).credits == gym.credits_per_hour


async def test_a_move_needs_a_new_approval(booking_mesh: BookingMesh) -> None:
    """In a gym that approves sessions, an approved session is pending again after a move, and admins get a mail."""
    session = await booked(booking_mesh, requires_approval=True)
    await booking_mesh.sessions.ApproveSession(ApproveSessionRequest(session_id=session.session_id))

    moved = await move(booking_mesh, await booking_mesh.find_session(session.session_id))

    assert moved.status == SESSION_STATUS_PENDING_APPROVAL
    await booking_mesh.wait_until_settled()
    approved = await booking_mesh.sessions.ApproveSession(ApproveSessionRequest(session_id=session.session_id))
    assert approved.session.status == SESSION_STATUS_CONFIRMED
    subjects = [mail.subject.strip().partition(":")[0] for mail in await booking_mesh.wait_for_mails(5)]
    assert sorted(subjects) == ["Approval needed", "Approval needed", "Approved", "Approved", "Moved"]


@pytest.mark.requirement("S6")
async def test_a_repeated_move_gets_the_first_answer(booking_mesh: BookingMesh) -> None:
    """A move repeated with its key moves once, although the etag of the session has changed since."""
    session = await booked(booking_mesh)
    first = await booking_mesh.sessions.RescheduleSession(move_request(session), metadata=with_key("move"))

    again = booking_mesh.sessions.RescheduleSession(move_request(session), metadata=with_key("move"))

    assert await again == first
    assert (REPLAYED, "true") in tuple(await again.trailing_metadata())
    with pytest.raises(EtagMismatch):
        await booking_mesh.sessions.RescheduleSession(move_request(session))
    assert len(await booking_mesh.wait_for_mails(2)) == 2


async def test_moving_to_the_same_period_changes_nothing(booking_mesh: BookingMesh) -> None:
    """A session that has the requested period already is returned unchanged, and nobody gets a mail."""
    session = await booked(booking_mesh)

    assert await move(booking_mesh, session, TOMORROW) == session
    assert len(await booking_mesh.wait_for_mails(1)) == 1


@pytest.mark.requirement("J6")
async def test_a_move_survives_a_lost_answer(booking_mesh: BookingMesh) -> None:
    """If the answers of the gym service and of the move itself are lost, the client's retry moves the session once."""
    session = await booked(booking_mesh)
    await break_service(booking_mesh, "gym", "QuotePrice", FaultKind.ANSWER_LOST, times=1)
    fault = await break_service(booking_mesh, "session", "RescheduleSession", FaultKind.ANSWER_LOST, times=1)
    # The client's retry is for the lost answer, not for the restart.
    await booking_mesh.mesh.wait_until_connected("session")

    moved = await move(booking_mesh, session)

    assert fault.remaining == 0
    assert moved == await booking_mesh.find_session(session.session_id)
    assert len(await booking_mesh.wait_for_mails(2)) == 2


async def test_one_of_many_takes_the_new_slot(booking_mesh: BookingMesh) -> None:
    """If members move to and book one slot at once, one gets it. Each session that lost keeps its old slot."""
    gym = await booking_mesh.create_gym()
    members = [await booking_mesh.create_member() for _ in range(6)]
    sessions = [
        await booking_mesh.book(book_request(member, gym, start=TOMORROW + (number + 1) * HOUR))
        for number, member in enumerate(members[:3])
    ]

    answers = await asyncio.gather(
        *[move(booking_mesh, session, TOMORROW) for session in sessions],
        *[booking_mesh.book(book_request(member, gym)) for member in members[3:]],
        return_exceptions=True,
    )

    lost = [answer for answer in answers if isinstance(answer, BaseException)]
    assert len(lost) == 5
    assert {type(each) for each in lost} == {SlotTaken}
    for session, answer in zip(sessions, answers, strict=False):
        found = await booking_mesh.find_session(session.session_id)
        assert found.period == (session.period if isinstance(answer, BaseException) else period())


async def test_two_sessions_do_not_swap_their_slots(booking_mesh: BookingMesh) -> None:
    """Two members who move to each other's slot both fail, without a deadlock."""
    session = await booked(booking_mesh)
    other = await booking_mesh.book(book_request(await booking_mesh.create_member(), session.gym_id, start=LATER))

    answers = await asyncio.gather(
        move(booking_mesh, session, LATER), move(booking_mesh, other, TOMORROW), return_exceptions=True
    )

    assert [type(answer) for answer in answers] == [SlotTaken, SlotTaken]


async def test_one_of_five_concurrent_moves_wins(booking_mesh: BookingMesh) -> None:
    """Of five concurrent moves of one session to different slots, one succeeds and four fail with ETAG_MISMATCH."""
    session = await booked(booking_mesh)

    answers = await asyncio.gather(
        *[move(booking_mesh, session, LATER + number * HOUR) for number in range(5)], return_exceptions=True
    )

    assert sum(isinstance(answer, EtagMismatch) for answer in answers) == 4
    assert len(await booking_mesh.busy_periods(session.gym_id, length=24 * HOUR)) == 1


@pytest.mark.requirement("S1")
async def test_a_caller_without_the_scope_cannot_move_a_session(booking_mesh: BookingMesh) -> None:
    """RescheduleSession requires the scope session.write, which the payment service lacks."""
    request = RescheduleSessionRequest(session_id=str(UUID(int=1)), period=period(), etag="0" * 32)

    with pytest.raises(ScopeMissing):
        await booking_mesh.mesh.stub(SessionServiceStub, caller="payment").RescheduleSession(request)
