from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from contracts.errors import DeadlineExceeded, Unavailable
from services.payment.app import payment_service
from solo60.common.v1.money_pb2 import Money
from solo60.payment.v1.payment_pb2 import ChargeSessionRequest
from solo60.session.v1.session_pb2 import SESSION_STATUS_CANCELLED, SESSION_STATUS_CONFIRMED
from tests.services.payment.card_connection import ConnectionHooks, FaultyCardProcessor, Gate, lose_the_call
from tests.services.session.booking_mesh import BY_CARD, BY_CREDITS, TOMORROW, book_request, period, with_key
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from solo60.payment.v1.payment_pb2 import PaymentMethod
    from tests.services.session.booking_mesh import BookingMesh

# A busy machine, too, reaches the charge within this time.
CHARGE_TIMEOUT_S = 5
# A booking left by a process that died after payment's answer, before it stored that answer.
ADD_PENDING_BOOKING = """
    insert into sessions (session_id, user_id, gym_id, period, status, currency, minor_units, credits, noise_policy,
        requires_approval, paid_in, create_time, update_time, caller, idempotency_key, request_sha256, correlation_id,
        expire_time)
    values ($1, $2, $3, tstzrange($4, $4::timestamptz + interval '1 hour'), 'pending_payment', 'GBP', 1250, 3, '',
        false, 'credits', now() - interval '1 minute', now() - interval '1 minute', 'operator', 'crashed', '\\x00',
        'crashed-request', $5)
"""


async def use_faulty_cards(booking_mesh: BookingMesh, hooks: ConnectionHooks) -> None:
    """Serve payment with a card company behind a connection with `hooks`."""
    await booking_mesh.stop("payment")
    service = payment_service(partial(FaultyCardProcessor, hooks=hooks))
    await booking_mesh.mesh.start(service, booking_mesh.urls["payment"])


async def is_free(booking_mesh: BookingMesh, gym: str) -> bool:
    """Return whether tomorrow's hour in this gym is free."""
    return not await booking_mesh.busy_periods(gym)


@pytest.mark.requirement("J6")
@pytest.mark.parametrize("method", [BY_CREDITS, BY_CARD])
async def test_an_outage_of_payment_leaves_no_booking_and_no_charge(
    booking_mesh: BookingMesh, method: PaymentMethod
) -> None:
    """A booking during an outage of payment fails with UNAVAILABLE, frees the slot at once and never charges."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    await booking_mesh.stop("payment")

    with pytest.raises(Unavailable):
        await booking_mesh.book(book_request(member, gym, by=method))

    assert await booking_mesh.busy_periods(gym) == []
    assert {each.status for each in await booking_mesh.sessions_of(member)} == {SESSION_STATUS_CANCELLED}
    assert await booking_mesh.pending_work() > 0
    await booking_mesh.start("payment")
    await booking_mesh.wait_until_settled()
    assert await booking_mesh.balance(member) == 100
    for session in await booking_mesh.sessions_of(member):
        assert "CAPTURED" not in await booking_mesh.payment_statuses(session.session_id)
    assert (await booking_mesh.book(book_request(member, gym, by=method))).status == SESSION_STATUS_CONFIRMED


@pytest.mark.requirement("S6")
async def test_the_same_key_can_book_after_an_outage_of_payment(booking_mesh: BookingMesh) -> None:
    """A booking that failed during an outage of payment can be repeated with its key, and is charged once."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    await booking_mesh.stop("payment")
    with pytest.raises(Unavailable):
        await booking_mesh.sessions.BookSession(book_request(member, gym), metadata=with_key("patient"))
    await booking_mesh.start("payment")
    await booking_mesh.wait_until_settled()

    answer = await booking_mesh.sessions.BookSession(book_request(member, gym), metadata=with_key("patient"))

    assert answer.session.status == SESSION_STATUS_CONFIRMED
    await booking_mesh.wait_until_settled()
    assert await booking_mesh.balance(member) == 97


@pytest.mark.requirement("J6")
@pytest.mark.parametrize("name", ["user", "gym"])
async def test_without_user_or_gym_service_nothing_is_held(booking_mesh: BookingMesh, name: str) -> None:
    """Without the user or the gym service a booking fails with UNAVAILABLE and stores no session."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    await booking_mesh.stop(name)

    with pytest.raises(Unavailable):
        await booking_mesh.book(book_request(member, gym))

    assert await booking_mesh.sessions_of(member) == []


@pytest.mark.requirement("J6")
async def test_a_charge_with_a_lost_answer_is_refunded(booking_mesh: BookingMesh) -> None:
    """If the answer to a card charge is lost, the booking fails and the charge is refunded without any mail."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    hooks = ConnectionHooks(after_charge=lose_the_call)
    await use_faulty_cards(booking_mesh, hooks)

    with pytest.raises(Unavailable):
        await booking_mesh.book(book_request(member, gym, by=BY_CARD))

    await booking_mesh.wait_until_settled()
    assert await booking_mesh.busy_periods(gym) == []
    for session in await booking_mesh.sessions_of(member):
        assert await booking_mesh.payment_statuses(session.session_id) == ["REFUNDED"]
    assert await booking_mesh.wait_for_mails(0) == []


@pytest.mark.requirement("J6")
async def test_a_cancelled_booking_call_leaves_no_booking_and_no_charge(booking_mesh: BookingMesh) -> None:
    """Cancelling the call during the charge frees the slot, and the charge is voided or refunded."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    gate = Gate()
    await use_faulty_cards(booking_mesh, ConnectionHooks(before_charge=gate))

    booking = asyncio.create_task(booking_mesh.book(book_request(member, gym, by=BY_CARD)))
    await gate.reached.wait()
    assert await booking_mesh.busy_periods(gym) == [period()]
    booking.cancel()
    await asyncio.wait([booking])

    await eventually(partial(is_free, booking_mesh, gym))
    gate.opened.set()
    await booking_mesh.wait_until_settled()
    (session,) = await booking_mesh.sessions_of(member)
    assert session.status == SESSION_STATUS_CANCELLED
    assert await booking_mesh.payment_statuses(session.session_id) in (["VOIDED"], ["REFUNDED"])
    assert await booking_mesh.wait_for_mails(0) == []


@pytest.mark.requirement("J6")
async def test_a_booking_past_its_deadline_leaves_no_booking_and_no_charge(booking_mesh: BookingMesh) -> None:
    """A deadline that expires during the charge frees the slot, and the charge is refunded.

    When the charge's deadline expires first, the booking may be retried and create a second session.
    """
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    gate = Gate()
    await use_faulty_cards(booking_mesh, ConnectionHooks(after_charge=gate))

    with pytest.raises((DeadlineExceeded, Unavailable)):
        await booking_mesh.sessions.BookSession(book_request(member, gym, by=BY_CARD), timeout=CHARGE_TIMEOUT_S)
    assert gate.reached.is_set()

    await eventually(partial(is_free, booking_mesh, gym))
    gate.opened.set()
    await booking_mesh.wait_until_settled()
    sessions = await booking_mesh.sessions_of(member)
    statuses = [await booking_mesh.payment_statuses(session.session_id) for session in sessions]
    assert ["REFUNDED"] in statuses
    assert all(each in ([], ["VOIDED"], ["REFUNDED"]) for each in statuses)


@pytest.mark.requirement("J6")
async def test_a_booking_interrupted_after_the_charge_is_undone(booking_mesh: BookingMesh) -> None:
    """A booking that crashed after its charge is cancelled and refunded once its hold expires."""
    member, gym, session_id = await booking_mesh.create_member(), await booking_mesh.create_gym(), str(uuid4())
    await store_pending_booking(booking_mesh, session_id, member, gym)
    price = Money(currency_code="GBP", minor_units=1250)
    await booking_mesh.payments.ChargeSession(
        ChargeSessionRequest(session_id=session_id, user_id=member, price=price, credits=3, payment_method=BY_CREDITS)
    )
    assert await booking_mesh.balance(member) == 97
    assert await booking_mesh.busy_periods(gym) == [period()]

    await expire_hold(booking_mesh, session_id)

    await booking_mesh.wait_until_settled()
    assert await booking_mesh.balance(member) == 100
    assert await booking_mesh.busy_periods(gym) == []
    assert (await booking_mesh.find_session(session_id)).status == SESSION_STATUS_CANCELLED
    assert await booking_mesh.wait_for_mails(0) == []


@pytest.mark.requirement("J6")
async def test_a_booking_interrupted_before_the_charge_cannot_be_charged(booking_mesh: BookingMesh) -> None:
    """A booking that crashed before its charge is voided at payment once its hold expires."""
    member, gym, session_id = await booking_mesh.create_member(), await booking_mesh.create_gym(), str(uuid4())
    await store_pending_booking(booking_mesh, session_id, member, gym)
    await expire_hold(booking_mesh, session_id)
    await booking_mesh.wait_until_settled()

    async with booking_mesh.mesh.database("payment").connection() as connection:
        is_void = await connection.fetchval(
            "select void_time is not null from sessions where session_id = $1", UUID(session_id)
        )

    assert is_void
    assert await booking_mesh.balance(member) == 100


@pytest.mark.requirement("J6")
async def test_a_booking_succeeds_without_mail_and_is_mailed_later(booking_mesh: BookingMesh) -> None:
    """A booking succeeds while the communication service is down, and each of its mails is sent once afterwards."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym(noise_policy="Quiet, please")
    await booking_mesh.stop("communication")

    session = await booking_mesh.book(book_request(member, gym))

    assert session.status == SESSION_STATUS_CONFIRMED
    assert await booking_mesh.pending_work() == 2
    await booking_mesh.start("communication")
    assert len(await booking_mesh.wait_for_mails(2)) == 2


@pytest.mark.requirement("J6")
async def test_follow_ups_of_a_stopped_process_are_done_by_the_next(booking_mesh: BookingMesh) -> None:
    """A mail that one session process could not send is sent by the next one, because it is stored in the database."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    await booking_mesh.stop("communication")
    await booking_mesh.book(book_request(member, gym))

    await booking_mesh.stop("session")
    await booking_mesh.start("communication")
    await booking_mesh.start("session")

    assert len(await booking_mesh.wait_for_mails(1)) == 1


@pytest.mark.requirement("S6")
async def test_a_repeated_mail_with_other_content_is_not_sent_again(booking_mesh: BookingMesh) -> None:
    """A mail repeated after a crash is not sent twice, even if its content has changed, because its key is the same."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    await booking_mesh.book(book_request(member, gym))
    await booking_mesh.wait_for_mails(1)

    async with booking_mesh.mesh.database("user").transaction() as connection:
        await connection.execute("update users set display_name = 'Ada Lovelace'")
    async with booking_mesh.mesh.database("session").transaction() as connection:
        await connection.execute("update outbox set status = 'pending', due_time = now(), settle_time = null")

    assert len(await booking_mesh.wait_for_mails(1)) == 1


async def store_pending_booking(booking_mesh: BookingMesh, session_id: str, member: str, gym: str) -> None:
    """Store an unfinished booking."""
    async with booking_mesh.mesh.database("session").transaction() as connection:
        await connection.execute("insert into calendars (gym_id) values ($1)", UUID(gym))
        far = TOMORROW.replace(year=TOMORROW.year + 1)
        await connection.execute(ADD_PENDING_BOOKING, UUID(session_id), UUID(member), UUID(gym), TOMORROW, far)


async def expire_hold(booking_mesh: BookingMesh, session_id: str) -> None:
    """Let the hold of a booking expire."""
    async with booking_mesh.mesh.database("session").transaction() as connection:
        await connection.execute("update sessions set expire_time = now() where session_id = $1", UUID(session_id))


async def test_an_undeliverable_address_leaves_a_dead_letter(booking_mesh: BookingMesh) -> None:
    """A mail to an address that the current rule rejects becomes a dead letter, and the booking stays valid."""
    member = await booking_mesh.create_member()
    async with booking_mesh.mesh.database("user").transaction() as connection:
        await connection.execute("update users set email = 'ada@localhost' where user_id = $1", UUID(member))

    session = await booking_mesh.book(book_request(member, await booking_mesh.create_gym()))

    await booking_mesh.wait_until_settled()
    assert (await booking_mesh.find_session(session.session_id)).status == session.status
    assert await booking_mesh.wait_for_mails(0) == []
    async with booking_mesh.mesh.database("session").transaction() as connection:
        (dead,) = await connection.fetch("select destination, last_error from outbox where status = 'dead'")
    assert dead["destination"] == "solo60.session.v1.SessionService/SendSessionMail"
    assert "recipient.email" in dead["last_error"]
    assert "localhost" not in dead["last_error"]


@pytest.mark.parametrize(
    ("email", "recipient"),
    [
        # The mail sink shows the address without its SMTP quotes.
        ("two..dots@docomo.ne.jp", "two..dots@docomo.ne.jp"),
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
    ],
)
async def test_every_address_that_a_user_may_have_can_be_mailed(
    booking_mesh: BookingMesh, email: str, recipient: str
) -> None:
    """Every address that the user service accepts can be mailed.

    Quoted local parts and IDN domains are encoded for SMTP.
    """
    member = await booking_mesh.create_member(email=email)

    await booking_mesh.book(book_request(member, await booking_mesh.create_gym()))

    (mail,) = await booking_mesh.wait_for_mails(1)
    assert mail.recipient == recipient
