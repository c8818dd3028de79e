from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from contracts.errors import SessionNotCancellable, SessionNotFound
from solo60.session.v1.session_pb2 import (
    SESSION_STATUS_CANCELLED,
    SESSION_STATUS_CONFIRMED,
    CancelSessionRequest,
    RefundMeans,
    Session,
)
from solo60.user.v1.user_pb2 import UpdateUserRequest, User, UserState
from tests.services.session.booking_mesh import BY_CARD, BY_CREDITS, HOUR, TOMORROW, book_request
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from solo60.payment.v1.payment_pb2 import PaymentMethod
    from tests.services.session.booking_mesh import BookingMesh


async def cancel(booking_mesh: BookingMesh, session: Session, reason: str = "") -> Session:
    """Cancel a session and return it."""
    request = CancelSessionRequest(session_id=session.session_id, reason=reason)
    return (await booking_mesh.sessions.CancelSession(request)).session


@pytest.mark.requirement("J2")
@pytest.mark.parametrize("method", [BY_CREDITS, BY_CARD])
async def test_a_cancelled_session_is_refunded_the_way_it_was_paid(
    booking_mesh: BookingMesh, method: PaymentMethod
) -> None:
    """Cancelling frees the slot at once, stores the reason and refunds the price in the way it was paid."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    session = await booking_mesh.book(book_request(member, gym, by=method))

    cancelled = await cancel(booking_mesh, session, "Caught a cold")

    assert (cancelled.status, cancelled.cancel_reason) == (SESSION_STATUS_CANCELLED, "Caught a cold")
    assert cancelled.update_time.ToDatetime() > session.update_time.ToDatetime()
    assert cancelled == await booking_mesh.find_session(session.session_id)
    await booking_mesh.wait_until_settled()
    assert await booking_mesh.balance(member) == 100
    assert await booking_mesh.payment_statuses(session.session_id) == ["REFUNDED"]
    assert await booking_mesh.busy_periods(gym) == []
    assert (await booking_mesh.book(book_request(member, gym))).status == SESSION_STATUS_CONFIRMED


@pytest.mark.requirement("J2")
@pytest.mark.parametrize("method", [BY_CREDITS, BY_CARD])
async def test_any_price_can_be_refunded_in_credits(booking_mesh: BookingMesh, method: PaymentMethod) -> None:
    """A cancellation may ask for a refund in credits, even if the session was paid by card."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    session = await booking_mesh.book(book_request(member, gym, by=method))

    request = CancelSessionRequest(session_id=session.session_id, refund_in=RefundMeans.REFUND_MEANS_CREDITS)
    await booking_mesh.sessions.CancelSession(request)

    (mail,) = [each for each in await booking_mesh.wait_for_mails(2) if each.subject.strip().startswith("Cancelled: ")]
    assert "Your refund: 3 credits" in mail.body
    assert await booking_mesh.balance(member) == (100 if method is BY_CREDITS else 103)
    assert await booking_mesh.payment_statuses(session.session_id) == ["REFUNDED"]


@pytest.mark.requirement("A3")
async def test_the_sessions_of_a_deleted_user_are_cancelled(booking_mesh: BookingMesh) -> None:
    """Deleting a user cancels and refunds that user's sessions, and leaves those of other users."""
    member = await booking_mesh.create_member()
    other = await booking_mesh.create_member()
    gym = await booking_mesh.create_gym()
    await booking_mesh.book(book_request(member, gym))
    await booking_mesh.book(book_request(member, gym, start=TOMORROW + HOUR))
    other_booking = await booking_mesh.book(book_request(other, gym, start=TOMORROW + 2 * HOUR))

    leaving = User(user_id=member, state=UserState.USER_STATE_DELETED)
    await booking_mesh.users.UpdateUser(UpdateUserRequest(user=leaving, update_mask=FieldMask(paths=["state"])))

    async def all_are_cancelled() -> bool:
        return {each.status for each in await booking_mesh.sessions_of(member)} == {SESSION_STATUS_CANCELLED}

    await eventually(all_are_cancelled)
    await booking_mesh.wait_until_settled()
    assert await booking_mesh.balance(member) == 100
    assert await booking_mesh.busy_periods(gym, TOMORROW, 3 * HOUR) == [other_booking.period]


@pytest.mark.requirement("J2")
async def test_a_cancellation_is_mailed_after_the_booking(booking_mesh: BookingMesh) -> None:
    """A cancellation sends a mail that names the refund."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym(name="Field Street Gym")

    await cancel(booking_mesh, await booking_mesh.book(book_request(member, gym)))

    subjects = {mail.subject.strip().partition(",")[0]: mail.body for mail in await booking_mesh.wait_for_mails(2)}
    assert set(subjects) == {"Booked: Field Street Gym", "Cancelled: Field Street Gym"}
    assert "3 credits" in subjects["Cancelled: Field Street Gym"]


@pytest.mark.requirement("J3")
async def test_a_session_pending_approval_can_be_cancelled(booking_mesh: BookingMesh) -> None:
    """A session pending approval can be cancelled, and is refunded."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym(requires_approval=True)

    cancelled = await cancel(booking_mesh, await booking_mesh.book(book_request(member, gym)))

    assert cancelled.status == SESSION_STATUS_CANCELLED
    await booking_mesh.wait_until_settled()
    assert await booking_mesh.balance(member) == 100


async def test_cancelling_again_changes_nothing(booking_mesh: BookingMesh) -> None:
    """Repeated and concurrent cancellations refund once, send one mail and return the first reason."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    session = await booking_mesh.book(book_request(member, gym))

    at_once = await asyncio.gather(*[cancel(booking_mesh, session, "first") for _ in range(10)])
    later = await cancel(booking_mesh, session, "second")

    assert {each.cancel_reason for each in [*at_once, later]} == {"first"}
    await booking_mesh.wait_until_settled()
    assert await booking_mesh.balance(member) == 100
    assert len(await booking_mesh.wait_for_mails(2)) == 2


async def test_an_unknown_session_cannot_be_cancelled(booking_mesh: BookingMesh) -> None:
    """Cancelling an unknown session fails with SessionNotFound."""
    with pytest.raises(SessionNotFound):
        await cancel(booking_mesh, Session(session_id=str(uuid4())))


@pytest.mark.parametrize(
    "change",
    [
        "period = tstzrange(now() - interval '1 minute', now() + interval '1 hour')",
        "status = 'completed'",
        "status = 'rejected'",
        "status = 'pending_payment', booking_response = null, expire_time = now() + interval '1 hour'",
    ],
)
async def test_a_started_ended_or_unpaid_session_cannot_be_cancelled(booking_mesh: BookingMesh, change: str) -> None:
    """A session that has started, is completed, was rejected or is being paid cannot be cancelled and is unchanged."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    session = await booking_mesh.book(book_request(member, gym))
    await booking_mesh.wait_until_settled()
    async with booking_mesh.mesh.database("session").transaction() as connection:
        await connection.execute(f"update sessions set {change}")  # noqa: S608 - the changes above
    before = await booking_mesh.find_session(session.session_id)

    with pytest.raises(SessionNotCancellable):
        await cancel(booking_mesh, session)

    assert await booking_mesh.find_session(session.session_id) == before
    assert await booking_mesh.payment_statuses(session.session_id) == ["CAPTURED"]


async def test_a_cancelled_session_stays_cancelled_after_its_period(booking_mesh: BookingMesh) -> None:
    """Repeating a cancellation after the period has begun returns the cancelled session."""
    session = await booking_mesh.book(book_request(await booking_mesh.create_member(), await booking_mesh.create_gym()))
    await cancel(booking_mesh, session)
    async with booking_mesh.mesh.database("session").transaction() as connection:
        await connection.execute("update sessions set period = tstzrange(now() - interval '2 hours', now())")

    assert (await cancel(booking_mesh, session)).status == SESSION_STATUS_CANCELLED


@pytest.mark.requirement("J6")
async def test_a_cancellation_succeeds_without_payment_and_mail(booking_mesh: BookingMesh) -> None:
    """A cancellation during an outage of payment and mail frees the slot at once; refund and mail follow later."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    session = await booking_mesh.book(book_request(member, gym))
    await booking_mesh.wait_for_mails(1)
    await booking_mesh.stop("payment")
    await booking_mesh.stop("communication")

    assert (await cancel(booking_mesh, session)).status == SESSION_STATUS_CANCELLED
    assert await booking_mesh.busy_periods(gym) == []
    assert await booking_mesh.pending_work() == 2

    await booking_mesh.start("payment")
    await booking_mesh.start("communication")
    assert len(await booking_mesh.wait_for_mails(2)) == 2
    assert await booking_mesh.balance(member) == 100
    assert await booking_mesh.payment_statuses(session.session_id) == ["REFUNDED"]
