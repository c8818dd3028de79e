from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from contracts.errors import (
    CardDeclined,
    IdempotencyKeyReused,
    InsufficientCredits,
    ServiceError,
)
from interceptors.idempotency import REPLAYED
from solo60.session.v1.session_pb2 import (
    CancelSessionRequest,
)
from tests.services.session.booking_mesh import (
    BY_CARD,
    BY_CREDITS,
    BY_DECLINED_CARD,
    CREDITS_PER_HOUR,
    HOUR,
    TOMORROW,
    book_request,
    period,
    with_key,
)

if TYPE_CHECKING:
    from solo60.payment.v1.payment_pb2 import PaymentMethod as Method
    from tests.services.session.booking_mesh import BookingMesh


@pytest.mark.requirement("S6")
@pytest.mark.parametrize("method", [BY_CREDITS, BY_CARD])
async def test_a_repetition_after_a_lost_answer_gets_the_same_session(
    booking_mesh: BookingMesh, method: Method
) -> None:
    """Repeating a booking with its key returns an equal answer, and books, charges and mails once."""
    member, gym = await booking_mesh.create_member(credits_granted=10), await booking_mesh.create_gym()
    request = book_request(member, gym, by=method)

    first = await booking_mesh.sessions.BookSession(request, metadata=with_key("lost-answer"))
    second = await booking_mesh.sessions.BookSession(request, metadata=with_key("lost-answer"))

    assert first == second
    assert len(await booking_mesh.sessions_of(member)) == 1
    assert await booking_mesh.balance(member) == (10 - CREDITS_PER_HOUR if method == BY_CREDITS else 10)
    assert len(await booking_mesh.wait_for_mails(1)) == 1


@pytest.mark.requirement("S6")
async def test_a_repetition_needs_no_other_service(booking_mesh: BookingMesh) -> None:
    """A repeated booking is answered from the stored answer, even if user, gym and payment service are down."""
    request = book_request(await booking_mesh.create_member(), await booking_mesh.create_gym())
    first = await booking_mesh.sessions.BookSession(request, metadata=with_key("stored"))
    for name in ("user", "gym", "payment"):
        await booking_mesh.stop(name)

    assert await booking_mesh.sessions.BookSession(request, metadata=with_key("stored")) == first

    for name in ("user", "gym", "payment"):
        await booking_mesh.start(name)


@pytest.mark.requirement("S6")
async def test_a_repetition_gets_the_first_answer_after_the_session_has_changed(booking_mesh: BookingMesh) -> None:
    """A repeated booking returns the original answer, even if the session was cancelled meanwhile."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    first = await booking_mesh.sessions.BookSession(book_request(member, gym), metadata=with_key("then-cancelled"))
    await booking_mesh.sessions.CancelSession(CancelSessionRequest(session_id=first.session.session_id))

    second = await booking_mesh.sessions.BookSession(book_request(member, gym), metadata=with_key("then-cancelled"))

    assert second == first
    assert await booking_mesh.busy_periods(gym) == []


@pytest.mark.requirement("S6")
async def test_twenty_concurrent_repetitions_book_once(booking_mesh: BookingMesh) -> None:
    """Twenty concurrent bookings with one key book, charge and mail once."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    request = book_request(member, gym)

    answers = await asyncio.gather(
        *[booking_mesh.sessions.BookSession(request, metadata=with_key("impatient")) for _ in range(20)]
    )

    assert len({answer.session.session_id for answer in answers}) == 1
    assert await booking_mesh.balance(member) == 100 - CREDITS_PER_HOUR
    assert len(await booking_mesh.wait_for_mails(1)) == 1


async def test_a_repeated_booking_is_marked_as_replayed(booking_mesh: BookingMesh) -> None:
    """A repeated booking has `idempotent-replayed: true` in its trailing metadata."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    replayed = []
    for _ in range(2):
        call: Any = booking_mesh.sessions.BookSession(book_request(member, gym), metadata=with_key("again"))
        await call
        replayed.append(dict(await call.trailing_metadata()).get(REPLAYED))

    assert replayed == [None, "true"]


async def test_a_key_with_another_request_is_rejected(booking_mesh: BookingMesh) -> None:
    """Reusing a key with another request fails with IDEMPOTENCY_KEY_REUSED and books nothing."""
    member = await booking_mesh.create_member()
    gym = await booking_mesh.create_gym()
    elsewhere = await booking_mesh.create_gym()
    await booking_mesh.sessions.BookSession(book_request(member, gym), metadata=with_key("reused"))

    for other in (
        book_request(member, gym, start=TOMORROW + HOUR),
        book_request(member, elsewhere),
        book_request(member, gym, by=BY_CARD),
    ):
        with pytest.raises(IdempotencyKeyReused):
            await booking_mesh.sessions.BookSession(other, metadata=with_key("reused"))

    assert len(await booking_mesh.sessions_of(member)) == 1


async def test_one_key_for_two_concurrent_gyms_books_one(booking_mesh: BookingMesh) -> None:
    """Concurrent bookings of two gyms with one key book one of them, although no common gym lock serialises them."""
    member = await booking_mesh.create_member()
    gym = await booking_mesh.create_gym()
    elsewhere = await booking_mesh.create_gym()

    answers = await asyncio.gather(
        *[
            booking_mesh.sessions.BookSession(book_request(member, each), metadata=with_key("two-gyms"))
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
            await booking_mesh.sessions.BookSession(book_request(member, gym, by=method), metadata=with_key("refused"))

    assert await booking_mesh.busy_periods(gym) == []


@pytest.mark.requirement("S6")
async def test_two_callers_may_use_the_same_key(booking_mesh: BookingMesh) -> None:
    """Idempotency keys are separate per caller."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    await booking_mesh.sessions.BookSession(book_request(member, gym), metadata=with_key("common"))

    async with booking_mesh.mesh.database("session").transaction() as connection:
        await connection.execute("update sessions set caller = 'another'")
    later = await booking_mesh.sessions.BookSession(
        book_request(member, gym, start=TOMORROW + HOUR), metadata=with_key("common")
    )

    assert later.session.period == period(TOMORROW + HOUR)
