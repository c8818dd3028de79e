from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parseaddr
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from contracts.errors import (
    CardDeclined,
    GymClosed,
    GymNotFound,
    InsufficientCredits,
    PeriodPast,
    SlotTaken,
    UserNotActive,
    UserNotFound,
)
from solo60.gym.v1.gym_pb2 import OpeningHours
from solo60.session.v1.session_pb2 import (
    SESSION_STATUS_CANCELLED,
    SESSION_STATUS_CONFIRMED,
    SESSION_STATUS_PENDING_APPROVAL,
)
from solo60.user.v1.user_pb2 import USER_STATE_SUSPENDED, UpdateUserRequest, User
from tests.services.session.booking_mesh import (
    BY_CARD,
    BY_DECLINED_CARD,
    CREDITS_PER_HOUR,
    HOUR,
    TOMORROW,
    book_request,
    period,
)

if TYPE_CHECKING:
    from tests.services.session.booking_mesh import BookingMesh

QUARTER = timedelta(minutes=15)


@pytest.mark.requirement("J1")
async def test_a_member_books_and_pays_in_credits(booking_mesh: BookingMesh) -> None:
    """A booking confirms the session at the quoted price and takes its credits."""
    member, gym = await booking_mesh.create_member(credits_granted=10), await booking_mesh.create_gym()

    session = await booking_mesh.book(book_request(member, gym))

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

    await booking_mesh.book(book_request(member, gym, by=BY_CARD))

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

    await booking_mesh.book(book_request(member, gym))

    booked, warning = sorted(await booking_mesh.wait_for_mails(2), key=lambda mail: mail.subject.strip())
    assert booked.subject.strip().startswith("Booked: ")
    assert "3 credits" in booked.body
    assert "No dropped weights after 20:00" in warning.body


@pytest.mark.requirement("J3")
async def test_a_gym_that_requires_approval_leaves_a_paid_session_pending(booking_mesh: BookingMesh) -> None:
    """Booking a gym that requires approval holds and charges the slot, and mails the admins but not the member."""
    member = await booking_mesh.create_member(display_name="Ada Byron")
    gym = await booking_mesh.create_gym(requires_approval=True, noise_policy="Quiet, please", time_zone="Asia/Kolkata")

    session = await booking_mesh.book(book_request(member, gym))

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
        await booking_mesh.book(book_request(member, gym, by=BY_DECLINED_CARD))

    assert await booking_mesh.busy_periods(gym) == []
    (refused,) = await booking_mesh.sessions_of(member)
    assert refused.status == SESSION_STATUS_CANCELLED
    await booking_mesh.wait_until_settled()
    assert await booking_mesh.payment_statuses(refused.session_id) == ["DECLINED"]
    assert (await booking_mesh.book(book_request(member, gym, by=BY_CARD))).status == SESSION_STATUS_CONFIRMED
    assert len(await booking_mesh.wait_for_mails(1)) == 1


@pytest.mark.requirement("J1")
async def test_a_member_without_enough_credits_books_nothing(booking_mesh: BookingMesh) -> None:
    """A booking without enough credits fails, takes nothing and leaves the slot free."""
    member = await booking_mesh.create_member(credits_granted=CREDITS_PER_HOUR - 1)
    gym = await booking_mesh.create_gym()

    with pytest.raises(InsufficientCredits):
        await booking_mesh.book(book_request(member, gym))

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
    await booking_mesh.book(book_request(first, gym))

    with pytest.raises(SlotTaken):
        await booking_mesh.book(book_request(second, gym, start=start, length=length))

    assert await booking_mesh.balance(second) == 10
    assert await booking_mesh.sessions_of(second) == []


async def test_adjacent_periods_and_other_gyms_are_free(booking_mesh: BookingMesh) -> None:
    """Periods are half-open: a session may begin when another ends. Other gyms are independent."""
    member = await booking_mesh.create_member()
    gym = await booking_mesh.create_gym()
    elsewhere = await booking_mesh.create_gym()

    await booking_mesh.book(book_request(member, gym))
    await booking_mesh.book(book_request(member, gym, start=TOMORROW + HOUR))
    await booking_mesh.book(book_request(member, gym, start=TOMORROW - HOUR))
    await booking_mesh.book(book_request(member, elsewhere))

    assert await booking_mesh.busy_periods(gym, TOMORROW - HOUR, 3 * HOUR) == [
        period(TOMORROW - HOUR),
        period(),
        period(TOMORROW + HOUR),
    ]


async def test_an_unknown_user_books_nothing(booking_mesh: BookingMesh) -> None:
    """Booking for an unknown user fails with UserNotFound and holds no slot."""
    gym = await booking_mesh.create_gym()

    with pytest.raises(UserNotFound):
        await booking_mesh.book(book_request(str(uuid4()), gym))

    assert await booking_mesh.busy_periods(gym) == []


async def test_a_suspended_user_books_nothing(booking_mesh: BookingMesh) -> None:
    """Booking for a suspended user fails with UserNotActive and holds no slot."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    user = User(user_id=member, state=USER_STATE_SUSPENDED)
    await booking_mesh.users.UpdateUser(UpdateUserRequest(user=user, update_mask=FieldMask(paths=["state"])))

    with pytest.raises(UserNotActive):
        await booking_mesh.book(book_request(member, gym))

    assert await booking_mesh.busy_periods(gym) == []


async def test_an_unknown_gym_cannot_be_booked(booking_mesh: BookingMesh) -> None:
    """Booking an unknown gym fails with GymNotFound."""
    member = await booking_mesh.create_member()

    with pytest.raises(GymNotFound):
        await booking_mesh.book(book_request(member, str(uuid4())))


async def test_a_closed_gym_cannot_be_booked(booking_mesh: BookingMesh) -> None:
    """Booking outside the opening hours of a gym fails with GymClosed."""
    member = await booking_mesh.create_member()
    gym = await booking_mesh.create_gym(opening_hours=OpeningHours(opens_minute=0, closes_minute=60))

    with pytest.raises(GymClosed):
        await booking_mesh.book(book_request(member, gym))


async def test_a_past_period_cannot_be_booked(booking_mesh: BookingMesh) -> None:
    """Booking a period that has already begun fails with PeriodPast."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    now = datetime.now(UTC)
    begun = now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0)

    with pytest.raises(PeriodPast):
        await booking_mesh.book(book_request(member, gym, start=begun))
