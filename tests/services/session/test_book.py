from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import parseaddr
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from contracts.errors import (
    CardDeclined,
    GymClosed,
    GymNotFound,
    IdempotencyKeyReused,
    InsufficientCredits,
    PeriodPast,
    ServiceError,
    SlotTaken,
    UserNotActive,
    UserNotFound,
)
from interceptors.idempotency import REPLAYED
from solo60.gym.v1.gym_pb2 import OpeningHours
from solo60.session.v1.session_pb2 import (
    SESSION_STATUS_CANCELLED,
    SESSION_STATUS_CONFIRMED,
    SESSION_STATUS_PENDING_APPROVAL,
    CancelSessionRequest,
)
from solo60.user.v1.user_pb2 import USER_STATE_SUSPENDED, UpdateUserRequest, User
from tests.services.session.booking_mesh import (
    BY_CARD,
    BY_CREDITS,
    BY_DECLINED_CARD,
    CREDITS_PER_HOUR,
    HOUR,
    TOMORROW,
    keyed,
    order,
    period,
)

if TYPE_CHECKING:
    from solo60.payment.v1.payment_pb2 import PaymentMethod as Method
    from tests.services.session.booking_mesh import BookingMesh

QUARTER = timedelta(minutes=15)


@pytest.mark.requirement("J1")
async def test_a_member_books_and_pays_in_credits(booking_mesh: BookingMesh) -> None:
    """A booking confirms the session at the quoted price and takes its credits."""
    member, gym = await booking_mesh.create_member(credits_granted=10), await booking_mesh.create_gym()

    session = await booking_mesh.book(order(member, gym))

    assert (session.user_id, session.gym_id, session.period) == (member, gym, period())
    assert session.status == SESSION_STATUS_CONFIRMED
    assert (session.price.minor_units, session.price.currency_code, session.credits) == (1250, "GBP", CREDITS_PER_HOUR)
    assert session == await booking_mesh.find_session(session.session_id)
    assert await booking_mesh.balance(member) == 10 - CREDITS_PER_HOUR
    assert await booking_mesh.payment_statuses(session.session_id) == ["CAPTURED"]


@pytest.mark.requirement("J1")
async def test_a_booking_is_mailed_in_the_members_time_zone(booking_mesh: BookingMesh) -> None:
    """A booking sends one mail with gym, times in the member's time zone, and the price."""
    member = await booking_mesh.create_member(
        email="ada@members.example", display_name="Ada Byron", time_zone="Asia/Kolkata"
    )
    gym = await booking_mesh.create_gym(name="Field Street Gym")

    await booking_mesh.book(order(member, gym, by=BY_CARD))

    (mail,) = await booking_mesh.wait_for_mails(1)
    start = f"{TOMORROW:%A} {TOMORROW.day} {TOMORROW:%B %Y}, 23:30 (Asia/Kolkata)"
    assert mail.recipient == "ada@members.example"
    assert mail.subject.strip() == f"Booked: Field Street Gym, {start}"
    assert all(words in mail.body for words in ("Ada Byron", start, "00:30 (Asia/Kolkata)", "12.50 GBP"))


@pytest.mark.requirement("J1")
async def test_a_gym_with_a_noise_policy_sends_a_second_mail(booking_mesh: BookingMesh) -> None:
    """Booking a gym with a noise policy sends a second mail with that policy."""
    member = await booking_mesh.create_member()
    gym = await booking_mesh.create_gym(noise_policy="No dropped weights after 20:00")

    await booking_mesh.book(order(member, gym))

    booked, warning = sorted(await booking_mesh.wait_for_mails(2), key=lambda mail: mail.subject.strip())
    assert booked.subject.strip().startswith("Booked: ")
    assert "3 credits" in booked.body
    assert "No dropped weights after 20:00" in warning.body


@pytest.mark.requirement("J3")
async def test_a_gym_that_requires_approval_leaves_a_paid_session_pending(booking_mesh: BookingMesh) -> None:
    """Booking a gym that requires approval holds and charges the slot, and mails the admins but not the member."""
    member = await booking_mesh.create_member(display_name="Ada Byron")
    gym = await booking_mesh.create_gym(requires_approval=True, noise_policy="Quiet, please", time_zone="Asia/Kolkata")

    session = await booking_mesh.book(order(member, gym))

    assert session.status == SESSION_STATUS_PENDING_APPROVAL
    assert await booking_mesh.payment_statuses(session.session_id) == ["CAPTURED"]
    assert await booking_mesh.busy_periods(gym) == [period()]
    (mail,) = await booking_mesh.wait_for_mails(1)
    assert mail.recipient == parseaddr(booking_mesh.mesh.settings.admins_email)[1]
    assert mail.subject.strip().startswith("Approval needed: ")
    assert all(words in mail.body for words in ("Ada Byron", "23:30 (Asia/Kolkata)", session.session_id))


@pytest.mark.requirement("J1")
async def test_a_declined_card_leaves_no_booking_and_no_charge(booking_mesh: BookingMesh) -> None:
    """A declined card cancels the session, takes nothing and frees the slot at once."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()

    with pytest.raises(CardDeclined):
        await booking_mesh.book(order(member, gym, by=BY_DECLINED_CARD))

    assert await booking_mesh.busy_periods(gym) == []
    (refused,) = await booking_mesh.sessions_of(member)
    assert refused.status == SESSION_STATUS_CANCELLED
    await booking_mesh.wait_until_settled()
    assert await booking_mesh.payment_statuses(refused.session_id) == ["DECLINED"]
    assert (await booking_mesh.book(order(member, gym, by=BY_CARD))).status == SESSION_STATUS_CONFIRMED
    assert len(await booking_mesh.wait_for_mails(1)) == 1


@pytest.mark.requirement("J1")
async def test_a_member_without_enough_credits_books_nothing(booking_mesh: BookingMesh) -> None:
    """A booking without enough credits fails, takes nothing and leaves the slot free."""
    member = await booking_mesh.create_member(credits_granted=CREDITS_PER_HOUR - 1)
    gym = await booking_mesh.create_gym()

    with pytest.raises(InsufficientCredits):
        await booking_mesh.book(order(member, gym))

    assert await booking_mesh.busy_periods(gym) == []
    assert await booking_mesh.balance(member) == CREDITS_PER_HOUR - 1
    assert await booking_mesh.wait_for_mails(0) == []


@pytest.mark.parametrize(
    ("start", "length"),
    [
        (TOMORROW, HOUR),
        (TOMORROW - QUARTER, HOUR),
        (TOMORROW + QUARTER, QUARTER),
        (TOMORROW - HOUR, 3 * HOUR),
        (TOMORROW + HOUR - QUARTER, HOUR),
    ],
)
async def test_an_overlapping_slot_is_taken(booking_mesh: BookingMesh, start: datetime, length: timedelta) -> None:
    """A period that overlaps a booked one in the same gym fails with SlotTaken, and nothing is charged."""
    first = await booking_mesh.create_member()
    second = await booking_mesh.create_member(credits_granted=10)
    gym = await booking_mesh.create_gym()
    await booking_mesh.book(order(first, gym))

    with pytest.raises(SlotTaken):
        await booking_mesh.book(order(second, gym, start=start, length=length))

    assert await booking_mesh.balance(second) == 10
    assert await booking_mesh.sessions_of(second) == []


async def test_adjacent_periods_and_other_gyms_are_free(booking_mesh: BookingMesh) -> None:
    """Periods are half-open: a session may begin when another ends. Other gyms are independent."""
    member = await booking_mesh.create_member()
    gym = await booking_mesh.create_gym()
    elsewhere = await booking_mesh.create_gym()

    await booking_mesh.book(order(member, gym))
    await booking_mesh.book(order(member, gym, start=TOMORROW + HOUR))
    await booking_mesh.book(order(member, gym, start=TOMORROW - HOUR))
    await booking_mesh.book(order(member, elsewhere))

    assert await booking_mesh.busy_periods(gym, TOMORROW - HOUR, 3 * HOUR) == [
        period(TOMORROW - HOUR),
        period(),
        period(TOMORROW + HOUR),
    ]


async def test_an_unknown_user_books_nothing(booking_mesh: BookingMesh) -> None:
    """Booking for an unknown user fails with UserNotFound and holds no slot."""
    gym = await booking_mesh.create_gym()

    with pytest.raises(UserNotFound):
        await booking_mesh.book(order(str(uuid4()), gym))

    assert await booking_mesh.busy_periods(gym) == []


async def test_a_suspended_user_books_nothing(booking_mesh: BookingMesh) -> None:
    """Booking for a suspended user fails with UserNotActive and holds no slot."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    user = User(user_id=member, state=USER_STATE_SUSPENDED)
    await booking_mesh.users.UpdateUser(UpdateUserRequest(user=user, update_mask=FieldMask(paths=["state"])))

    with pytest.raises(UserNotActive):
        await booking_mesh.book(order(member, gym))

    assert await booking_mesh.busy_periods(gym) == []


async def test_an_unknown_gym_cannot_be_booked(booking_mesh: BookingMesh) -> None:
    """Booking an unknown gym fails with GymNotFound."""
    member = await booking_mesh.create_member()

    with pytest.raises(GymNotFound):
        await booking_mesh.book(order(member, str(uuid4())))


async def test_a_closed_gym_cannot_be_booked(booking_mesh: BookingMesh) -> None:
    """Booking outside the opening hours of a gym fails with GymClosed."""
    member = await booking_mesh.create_member()
    gym = await booking_mesh.create_gym(opening_hours=OpeningHours(opens_minute=0, closes_minute=60))

    with pytest.raises(GymClosed):
        await booking_mesh.book(order(member, gym))


async def test_a_past_period_cannot_be_booked(booking_mesh: BookingMesh) -> None:
    """Booking a period that has already begun fails with PeriodPast."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    now = datetime.now(UTC)
    begun = now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0)

    with pytest.raises(PeriodPast):
        await booking_mesh.book(order(member, gym, start=begun))


@pytest.mark.requirement("S6")
@pytest.mark.parametrize("method", [BY_CREDITS, BY_CARD])
async def test_a_repetition_after_a_lost_answer_gets_the_same_session(
    booking_mesh: BookingMesh, method: Method
) -> None:
    """Repeating a booking with its key returns an equal answer, and books, charges and mails once."""
    member, gym = await booking_mesh.create_member(credits_granted=10), await booking_mesh.create_gym()
    request = order(member, gym, by=method)

    first = await booking_mesh.sessions.BookSession(request, metadata=keyed("lost-answer"))
    second = await booking_mesh.sessions.BookSession(request, metadata=keyed("lost-answer"))

    assert first == second
    assert len(await booking_mesh.sessions_of(member)) == 1
    assert await booking_mesh.balance(member) == (10 - CREDITS_PER_HOUR if method == BY_CREDITS else 10)
    assert len(await booking_mesh.wait_for_mails(1)) == 1


@pytest.mark.requirement("S6")
async def test_a_repetition_needs_no_other_service(booking_mesh: BookingMesh) -> None:
    """A repeated booking is answered from the stored answer, even if user, gym and payment service are down."""
    request = order(await booking_mesh.create_member(), await booking_mesh.create_gym())
    first = await booking_mesh.sessions.BookSession(request, metadata=keyed("stored"))
    for name in ("user", "gym", "payment"):
        await booking_mesh.stop(name)

    assert await booking_mesh.sessions.BookSession(request, metadata=keyed("stored")) == first

    for name in ("user", "gym", "payment"):
        await booking_mesh.start(name)


@pytest.mark.requirement("S6")
async def test_a_repetition_gets_the_first_answer_after_the_session_has_changed(booking_mesh: BookingMesh) -> None:
    """A repeated booking returns the original answer, even if the session was cancelled meanwhile."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    first = await booking_mesh.sessions.BookSession(order(member, gym), metadata=keyed("then-cancelled"))
    await booking_mesh.sessions.CancelSession(CancelSessionRequest(session_id=first.session.session_id))

    second = await booking_mesh.sessions.BookSession(order(member, gym), metadata=keyed("then-cancelled"))

    assert second == first
    assert await booking_mesh.busy_periods(gym) == []


@pytest.mark.requirement("S6")
async def test_twenty_concurrent_repetitions_book_once(booking_mesh: BookingMesh) -> None:
    """Twenty concurrent bookings with one key book, charge and mail once."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    request = order(member, gym)

    answers = await asyncio.gather(
        *[booking_mesh.sessions.BookSession(request, metadata=keyed("impatient")) for _ in range(20)]
    )

    assert len({answer.session.session_id for answer in answers}) == 1
    assert await booking_mesh.balance(member) == 100 - CREDITS_PER_HOUR
    assert len(await booking_mesh.wait_for_mails(1)) == 1


async def test_a_repeated_booking_is_marked_as_replayed(booking_mesh: BookingMesh) -> None:
    """A repeated booking has `idempotent-replayed: true` in its trailing metadata."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    replayed = []
    for _ in range(2):
        call: Any = booking_mesh.sessions.BookSession(order(member, gym), metadata=keyed("again"))
        await call
        replayed.append(dict(await call.trailing_metadata()).get(REPLAYED))

    assert replayed == [None, "true"]


async def test_a_key_with_another_request_is_rejected(booking_mesh: BookingMesh) -> None:
    """Reusing a key with another request fails with IDEMPOTENCY_KEY_REUSED and books nothing."""
    member = await booking_mesh.create_member()
    gym = await booking_mesh.create_gym()
    elsewhere = await booking_mesh.create_gym()
    await booking_mesh.sessions.BookSession(order(member, gym), metadata=keyed("reused"))

    for other in (order(member, gym, start=TOMORROW + HOUR), order(member, elsewhere), order(member, gym, by=BY_CARD)):
        with pytest.raises(IdempotencyKeyReused):
            await booking_mesh.sessions.BookSession(other, metadata=keyed("reused"))

    assert len(await booking_mesh.sessions_of(member)) == 1


async def test_one_key_for_two_concurrent_gyms_books_one(booking_mesh: BookingMesh) -> None:
    """Concurrent bookings of two gyms with one key book one of them, although no common gym lock serialises them."""
    member = await booking_mesh.create_member()
    gym = await booking_mesh.create_gym()
    elsewhere = await booking_mesh.create_gym()

    answers = await asyncio.gather(
        *[
            booking_mesh.sessions.BookSession(order(member, each), metadata=keyed("two-gyms"))
            for each in (gym, elsewhere)
        ],
        return_exceptions=True,
    )

    assert sorted(type(answer).__name__ for answer in answers) == ["BookSessionResponse", "IdempotencyKeyReused"]
    assert len(await booking_mesh.sessions_of(member)) == 1


@pytest.mark.requirement("S6")
@pytest.mark.parametrize(("method", "refusal"), [(BY_DECLINED_CARD, CardDeclined), (BY_CREDITS, InsufficientCredits)])
async def test_a_rejected_booking_is_rejected_again_when_repeated(
    booking_mesh: BookingMesh, method: Method, refusal: type[ServiceError]
) -> None:
    """A booking rejected for lack of payment is rejected again when it is repeated with its key."""
    member, gym = await booking_mesh.create_member(credits_granted=0), await booking_mesh.create_gym()

    for _ in range(2):
        with pytest.raises(refusal):
            await booking_mesh.sessions.BookSession(order(member, gym, by=method), metadata=keyed("refused"))

    assert await booking_mesh.busy_periods(gym) == []


@pytest.mark.requirement("S6")
async def test_two_callers_may_use_the_same_key(booking_mesh: BookingMesh) -> None:
    """Idempotency keys are separate per caller."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    await booking_mesh.sessions.BookSession(order(member, gym), metadata=keyed("common"))

    async with booking_mesh.mesh.database("session").transaction() as connection:
        await connection.execute("update sessions set caller = 'another'")
    later = await booking_mesh.sessions.BookSession(order(member, gym, start=TOMORROW + HOUR), metadata=keyed("common"))

    assert later.session.period == period(TOMORROW + HOUR)
