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
from tests.services.session.town import (
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
    from tests.services.session.town import Town

QUARTER = timedelta(minutes=15)


@pytest.mark.requirement("J1")
async def test_a_member_books_and_pays_in_credits(town: Town) -> None:
    """The session is confirmed, with the price it was booked at, and the credits are taken."""
    member, gym = await town.a_member(credits_granted=10), await town.a_gym()

    session = await town.booked(order(member, gym))

    assert (session.user_id, session.gym_id, session.period) == (member, gym, period())
    assert session.status == SESSION_STATUS_CONFIRMED
    assert (session.price.minor_units, session.price.currency_code, session.credits) == (1250, "GBP", CREDITS_PER_HOUR)
    assert session == await town.session(session.session_id)
    assert await town.balance(member) == 10 - CREDITS_PER_HOUR
    assert await town.payment_statuses(session.session_id) == ["CAPTURED"]


@pytest.mark.requirement("J1")
async def test_a_booking_is_mailed_to_the_member_in_the_members_own_time(town: Town) -> None:
    """One mail, with gym, times and the price as it was paid."""
    member = await town.a_member(email="ada@members.example", display_name="Ada Byron", time_zone="Asia/Kolkata")
    gym = await town.a_gym(name="Field Street Gym")

    await town.booked(order(member, gym, by=BY_CARD))

    (mail,) = await town.mails(1)
    start = f"{TOMORROW:%A} {TOMORROW.day} {TOMORROW:%B %Y}, 23:30 (Asia/Kolkata)"
    assert mail.recipient == "ada@members.example"
    assert mail.subject.strip() == f"Booked: Field Street Gym, {start}"
    assert all(words in mail.body for words in ("Ada Byron", start, "00:30 (Asia/Kolkata)", "12.50 GBP"))


@pytest.mark.requirement("J1")
async def test_a_gym_with_a_noise_policy_warns_by_a_second_mail(town: Town) -> None:
    """Field Street Gym: who books is told what the neighbours ask for."""
    member, gym = await town.a_member(), await town.a_gym(noise_policy="No dropped weights after 20:00")

    await town.booked(order(member, gym))

    booked, warning = sorted(await town.mails(2), key=lambda mail: mail.subject.strip())
    assert booked.subject.strip().startswith("Booked: ")
    assert "3 credits" in booked.body
    assert "No dropped weights after 20:00" in warning.body


@pytest.mark.requirement("J3")
async def test_a_gym_that_asks_for_approval_gets_a_paid_session_that_waits(town: Town) -> None:
    """The slot is held and paid; the admins are asked, and nothing is promised to the member yet."""
    member = await town.a_member(display_name="Ada Byron")
    gym = await town.a_gym(requires_approval=True, noise_policy="Quiet, please", time_zone="Asia/Kolkata")

    session = await town.booked(order(member, gym))

    assert session.status == SESSION_STATUS_PENDING_APPROVAL
    assert await town.payment_statuses(session.session_id) == ["CAPTURED"]
    assert await town.busy(gym) == [period()]
    (mail,) = await town.mails(1)
    assert mail.recipient == parseaddr(town.mesh.settings.admins_email)[1]
    assert mail.subject.strip().startswith("To be approved: ")
    assert all(words in mail.body for words in ("Ada Byron", "23:30 (Asia/Kolkata)", session.session_id))


@pytest.mark.requirement("J1")
async def test_a_declined_card_leaves_no_booking_and_no_charge(town: Town) -> None:
    """The refusal is the card's, and the slot is free for the next one at once."""
    member, gym = await town.a_member(), await town.a_gym()

    with pytest.raises(CardDeclined):
        await town.booked(order(member, gym, by=BY_DECLINED_CARD))

    assert await town.busy(gym) == []
    (refused,) = await town.sessions_of(member)
    assert refused.status == SESSION_STATUS_CANCELLED
    await town.settled()
    assert await town.payment_statuses(refused.session_id) == ["DECLINED"]
    assert (await town.booked(order(member, gym, by=BY_CARD))).status == SESSION_STATUS_CONFIRMED
    assert len(await town.mails(1)) == 1


@pytest.mark.requirement("J1")
async def test_a_member_without_enough_credits_books_nothing(town: Town) -> None:
    """A balance is never overdrawn, and the slot stays free."""
    member, gym = await town.a_member(credits_granted=CREDITS_PER_HOUR - 1), await town.a_gym()

    with pytest.raises(InsufficientCredits):
        await town.booked(order(member, gym))

    assert await town.busy(gym) == []
    assert await town.balance(member) == CREDITS_PER_HOUR - 1
    assert await town.mails(0) == []


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
async def test_a_slot_that_overlaps_a_booked_one_is_taken(town: Town, start: datetime, length: timedelta) -> None:
    """Two sessions that hold a slot never overlap in the same gym, and who loses pays nothing."""
    first, second, gym = await town.a_member(), await town.a_member(credits_granted=10), await town.a_gym()
    await town.booked(order(first, gym))

    with pytest.raises(SlotTaken):
        await town.booked(order(second, gym, start=start, length=length))

    assert await town.balance(second) == 10
    assert await town.sessions_of(second) == []


async def test_periods_that_touch_and_other_gyms_are_free(town: Town) -> None:
    """Periods are half-open: one may begin when another ends."""
    member, gym, elsewhere = await town.a_member(), await town.a_gym(), await town.a_gym()

    await town.booked(order(member, gym))
    await town.booked(order(member, gym, start=TOMORROW + HOUR))
    await town.booked(order(member, gym, start=TOMORROW - HOUR))
    await town.booked(order(member, elsewhere))

    assert await town.busy(gym, TOMORROW - HOUR, 3 * HOUR) == [
        period(TOMORROW - HOUR),
        period(),
        period(TOMORROW + HOUR),
    ]


async def test_an_unknown_user_books_nothing(town: Town) -> None:
    """The user service is asked before anything is held."""
    gym = await town.a_gym()

    with pytest.raises(UserNotFound):
        await town.booked(order(str(uuid4()), gym))

    assert await town.busy(gym) == []


async def test_a_suspended_user_books_nothing(town: Town) -> None:
    """Barred members keep their account but use nothing."""
    member, gym = await town.a_member(), await town.a_gym()
    user = User(user_id=member, state=USER_STATE_SUSPENDED)
    await town.users.UpdateUser(UpdateUserRequest(user=user, update_mask=FieldMask(paths=["state"])))

    with pytest.raises(UserNotActive):
        await town.booked(order(member, gym))

    assert await town.busy(gym) == []


async def test_an_unknown_gym_is_not_booked(town: Town) -> None:
    """The gym service says what can be booked."""
    member = await town.a_member()

    with pytest.raises(GymNotFound):
        await town.booked(order(member, str(uuid4())))


async def test_a_closed_gym_is_not_booked(town: Town) -> None:
    """The gym's opening hours are the gym service's to know."""
    member, gym = await town.a_member(), await town.a_gym(opening_hours=OpeningHours(opens_minute=0, closes_minute=60))

    with pytest.raises(GymClosed):
        await town.booked(order(member, gym))


async def test_the_past_is_not_booked(town: Town) -> None:
    """A period that has begun is too late to book."""
    member, gym = await town.a_member(), await town.a_gym()
    now = datetime.now(UTC)
    begun = now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0)

    with pytest.raises(PeriodPast):
        await town.booked(order(member, gym, start=begun))


@pytest.mark.requirement("S6")
@pytest.mark.parametrize("method", [BY_CREDITS, BY_CARD])
async def test_a_repetition_after_a_lost_answer_gets_the_same_session(town: Town, method: Method) -> None:
    """The same caller and key book, charge and mail once, and the answer is the same to the byte."""
    member, gym = await town.a_member(credits_granted=10), await town.a_gym()
    request = order(member, gym, by=method)

    first = await town.sessions.BookSession(request, metadata=keyed("lost-answer"))
    second = await town.sessions.BookSession(request, metadata=keyed("lost-answer"))

    assert first == second
    assert len(await town.sessions_of(member)) == 1
    assert await town.balance(member) == (10 - CREDITS_PER_HOUR if method == BY_CREDITS else 10)
    assert len(await town.mails(1)) == 1


@pytest.mark.requirement("S6")
async def test_a_repetition_needs_nobody_else(town: Town) -> None:
    """What was answered once is answered again from what is kept, whoever is gone by now."""
    request = order(await town.a_member(), await town.a_gym())
    first = await town.sessions.BookSession(request, metadata=keyed("kept"))
    for name in ("user", "gym", "payment"):
        await town.stop(name)

    assert await town.sessions.BookSession(request, metadata=keyed("kept")) == first

    for name in ("user", "gym", "payment"):
        await town.start(name)


@pytest.mark.requirement("S6")
async def test_a_repetition_is_answered_as_the_first_call_even_when_the_session_has_changed(town: Town) -> None:
    """The answer of a call stays what it was; what became of the session is GetSession's to tell."""
    member, gym = await town.a_member(), await town.a_gym()
    first = await town.sessions.BookSession(order(member, gym), metadata=keyed("then-cancelled"))
    await town.sessions.CancelSession(CancelSessionRequest(session_id=first.session.session_id))

    second = await town.sessions.BookSession(order(member, gym), metadata=keyed("then-cancelled"))

    assert second == first
    assert await town.busy(gym) == []


@pytest.mark.requirement("S6")
async def test_twenty_repetitions_at_once_book_once(town: Town) -> None:
    """A retry may overtake the attempt that it repeats."""
    member, gym = await town.a_member(), await town.a_gym()
    request = order(member, gym)

    answers = await asyncio.gather(
        *[town.sessions.BookSession(request, metadata=keyed("impatient")) for _ in range(20)]
    )

    assert len({answer.session.session_id for answer in answers}) == 1
    assert await town.balance(member) == 100 - CREDITS_PER_HOUR
    assert len(await town.mails(1)) == 1


async def test_a_repeated_booking_says_that_its_answer_is_an_earlier_one(town: Town) -> None:
    """With `idempotent-replayed: true` at its end."""
    member, gym = await town.a_member(), await town.a_gym()
    replayed = []
    for _ in range(2):
        call: Any = town.sessions.BookSession(order(member, gym), metadata=keyed("again"))
        await call
        replayed.append(dict(await call.trailing_metadata()).get(REPLAYED))

    assert replayed == [None, "true"]


async def test_a_key_that_comes_with_another_request_is_refused(town: Town) -> None:
    """The same key with another payload is IDEMPOTENCY_KEY_REUSED, and nothing is booked."""
    member, gym, elsewhere = await town.a_member(), await town.a_gym(), await town.a_gym()
    await town.sessions.BookSession(order(member, gym), metadata=keyed("reused"))

    for other in (order(member, gym, start=TOMORROW + HOUR), order(member, elsewhere), order(member, gym, by=BY_CARD)):
        with pytest.raises(IdempotencyKeyReused):
            await town.sessions.BookSession(other, metadata=keyed("reused"))

    assert len(await town.sessions_of(member)) == 1


async def test_one_key_for_two_gyms_at_once_books_one_of_them(town: Town) -> None:
    """Two calls that no lock of one gym keeps apart are kept apart by their key."""
    member, gym, elsewhere = await town.a_member(), await town.a_gym(), await town.a_gym()

    answers = await asyncio.gather(
        *[town.sessions.BookSession(order(member, each), metadata=keyed("two-gyms")) for each in (gym, elsewhere)],
        return_exceptions=True,
    )

    assert sorted(type(answer).__name__ for answer in answers) == ["BookSessionResponse", "IdempotencyKeyReused"]
    assert len(await town.sessions_of(member)) == 1


@pytest.mark.requirement("S6")
@pytest.mark.parametrize(("method", "refusal"), [(BY_DECLINED_CARD, CardDeclined), (BY_CREDITS, InsufficientCredits)])
async def test_a_refused_booking_is_refused_alike_when_repeated(
    town: Town, method: Method, refusal: type[ServiceError]
) -> None:
    """A refusal had no effect, so its key is free; the repetition is judged anew."""
    member, gym = await town.a_member(credits_granted=0), await town.a_gym()

    for _ in range(2):
        with pytest.raises(refusal):
            await town.sessions.BookSession(order(member, gym, by=method), metadata=keyed("refused"))

    assert await town.busy(gym) == []


@pytest.mark.requirement("S6")
async def test_two_callers_may_choose_the_same_key(town: Town) -> None:
    """Callers choose their keys without knowing each other's."""
    member, gym = await town.a_member(), await town.a_gym()
    await town.sessions.BookSession(order(member, gym), metadata=keyed("common"))

    async with town.mesh.database("session").transaction() as connection:
        await connection.execute("update sessions set caller = 'another'")
    later = await town.sessions.BookSession(order(member, gym, start=TOMORROW + HOUR), metadata=keyed("common"))

    assert later.session.period == period(TOMORROW + HOUR)
