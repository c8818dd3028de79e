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
from tests.services.payment.card_line import DistantProcessor, Gate, Line, lose_the_call
from tests.services.session.town import BY_CARD, BY_CREDITS, TOMORROW, keyed, order, period
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from solo60.payment.v1.payment_pb2 import PaymentMethod
    from tests.services.session.town import Town

# Within that time a busy machine, too, comes as far as to the charge.
UNTIL_CHARGED_S = 5
# What a process leaves behind that dies between the answer of payment and its own note of it.
LEAVE_PENDING = """
    insert into sessions (session_id, user_id, gym_id, period, status, currency, minor_units, credits, noise_policy,
        requires_approval, paid_in, create_time, update_time, caller, idempotency_key, request_sha256, correlation_id,
        expire_time)
    values ($1, $2, $3, tstzrange($4, $4::timestamptz + interval '1 hour'), 'pending_payment', 'GBP', 1250, 3, '',
        false, 'credits', now() - interval '1 minute', now() - interval '1 minute', 'operator', 'crashed', '\\x00',
        'crashed-request', $5)
"""


async def use_distant_cards(town: Town, line: Line) -> None:
    """Serve payment with a card company at the end of a line."""
    await town.stop("payment")
    service = payment_service(partial(DistantProcessor, line=line))
    await town.mesh.start(service, town.urls["payment"])


async def is_free(town: Town, gym: str) -> bool:
    """Tell whether nobody has tomorrow's hour."""
    return not await town.busy(gym)


@pytest.mark.parametrize("method", [BY_CREDITS, BY_CARD])
async def test_a_lost_payment_service_leaves_no_booking_and_no_charge(town: Town, method: PaymentMethod) -> None:
    """J6: the member is told to come back, the slot is free at once, and when payment is back nothing was charged."""
    member, gym = await town.a_member(), await town.a_gym()
    await town.stop("payment")

    with pytest.raises(Unavailable):
        await town.booked(order(member, gym, by=method))

    assert await town.busy(gym) == []
    assert {each.status for each in await town.sessions_of(member)} == {SESSION_STATUS_CANCELLED}
    assert await town.left_undone() > 0
    await town.start("payment")
    await town.settled()
    assert await town.balance(member) == 100
    for session in await town.sessions_of(member):
        assert "CAPTURED" not in await town.payment_statuses(session.session_id)
    assert (await town.booked(order(member, gym, by=method))).status == SESSION_STATUS_CONFIRMED


async def test_the_same_key_books_once_payment_is_back(town: Town) -> None:
    """S6: a booking that came to nothing left its key free, so the caller may go on trying with it."""
    member, gym = await town.a_member(), await town.a_gym()
    await town.stop("payment")
    with pytest.raises(Unavailable):
        await town.sessions.BookSession(order(member, gym), metadata=keyed("patient"))
    await town.start("payment")
    await town.settled()

    answer = await town.sessions.BookSession(order(member, gym), metadata=keyed("patient"))

    assert answer.session.status == SESSION_STATUS_CONFIRMED
    await town.settled()
    assert await town.balance(member) == 97


@pytest.mark.parametrize("name", ["user", "gym"])
async def test_without_user_or_gym_service_nothing_is_held(town: Town, name: str) -> None:
    """J6: who cannot be asked is not guessed about."""
    member, gym = await town.a_member(), await town.a_gym()
    await town.stop(name)

    with pytest.raises(Unavailable):
        await town.booked(order(member, gym))

    assert await town.sessions_of(member) == []


async def test_a_charge_whose_answer_is_lost_is_given_back(town: Town) -> None:
    """J6: the card was charged, nobody knows it, and the member still pays nothing."""
    member, gym = await town.a_member(), await town.a_gym()
    line = Line(after_charge=lose_the_call)
    await use_distant_cards(town, line)

    with pytest.raises(Unavailable):
        await town.booked(order(member, gym, by=BY_CARD))

    await town.settled()
    assert await town.busy(gym) == []
    for session in await town.sessions_of(member):
        assert await town.payment_statuses(session.session_id) == ["REFUNDED"]
    assert await town.mails(0) == []


async def test_a_member_who_gives_up_has_no_booking_and_no_charge(town: Town) -> None:
    """J6, T-b4: the call ends while the card is charged; the slot is free soon, and the charge comes to nothing."""
    member, gym = await town.a_member(), await town.a_gym()
    gate = Gate()
    await use_distant_cards(town, Line(before_charge=gate))

    booking = asyncio.create_task(town.booked(order(member, gym, by=BY_CARD)))
    await gate.reached.wait()
    assert await town.busy(gym) == [period()]
    booking.cancel()
    await asyncio.wait([booking])

    await eventually(partial(is_free, town, gym))
    gate.opened.set()
    await town.settled()
    (session,) = await town.sessions_of(member)
    assert session.status == SESSION_STATUS_CANCELLED
    assert await town.payment_statuses(session.session_id) in (["VOIDED"], ["REFUNDED"])
    assert await town.mails(0) == []


async def test_a_caller_out_of_time_has_no_booking_and_no_charge(town: Town) -> None:
    """J6: the same when it is the deadline that ends the call, or the payment's, which is a little sooner.

    If the charge's deadline expires first, the client may retry the booking and create a second session.
    """
    member, gym = await town.a_member(), await town.a_gym()
    gate = Gate()
    await use_distant_cards(town, Line(after_charge=gate))

    with pytest.raises((DeadlineExceeded, Unavailable)):
        await town.sessions.BookSession(order(member, gym, by=BY_CARD), timeout=UNTIL_CHARGED_S)
    assert gate.reached.is_set()

    await eventually(partial(is_free, town, gym))
    gate.opened.set()
    await town.settled()
    statuses = [await town.payment_statuses(session.session_id) for session in await town.sessions_of(member)]
    assert ["REFUNDED"] in statuses
    assert all(each in ([], ["VOIDED"], ["REFUNDED"]) for each in statuses)


async def test_a_booking_that_a_crash_cut_off_after_the_charge_is_undone(town: Town) -> None:
    """J6: a slot that nobody confirmed in time is released, and what was paid for it goes back."""
    member, gym, session_id = await town.a_member(), await town.a_gym(), str(uuid4())
    await leave_pending(town, session_id, member, gym)
    price = Money(currency_code="GBP", minor_units=1250)
    await town.payments.ChargeSession(
        ChargeSessionRequest(session_id=session_id, user_id=member, price=price, credits=3, payment_method=BY_CREDITS)
    )
    assert await town.balance(member) == 97
    assert await town.busy(gym) == [period()]

    await let_expire(town, session_id)

    await town.settled()
    assert await town.balance(member) == 100
    assert await town.busy(gym) == []
    assert (await town.session(session_id)).status == SESSION_STATUS_CANCELLED
    assert await town.mails(0) == []


async def test_a_booking_that_a_crash_cut_off_before_the_charge_can_never_be_charged(town: Town) -> None:
    """J6: the session is voided at payment, so that a charge still under way is refused."""
    member, gym, session_id = await town.a_member(), await town.a_gym(), str(uuid4())
    await leave_pending(town, session_id, member, gym)
    await let_expire(town, session_id)
    await town.settled()

    async with town.mesh.database("payment").connection() as connection:
        is_void = await connection.fetchval(
            "select void_time is not null from sessions where session_id = $1", UUID(session_id)
        )

    assert is_void
    assert await town.balance(member) == 100


async def test_a_booking_stands_while_mail_is_gone_and_the_mail_comes_later(town: Town) -> None:
    """J6: mail is no reason to refuse a member; it is owed until the communication service has it, and comes once."""
    member, gym = await town.a_member(), await town.a_gym(noise_policy="Quiet, please")
    await town.stop("communication")

    session = await town.booked(order(member, gym))

    assert session.status == SESSION_STATUS_CONFIRMED
    assert await town.left_undone() == 2
    await town.start("communication")
    assert len(await town.mails(2)) == 2


async def test_what_one_process_leaves_undone_the_next_one_does(town: Town) -> None:
    """J6: what is due is in the database, not in the process."""
    member, gym = await town.a_member(), await town.a_gym()
    await town.stop("communication")
    await town.booked(order(member, gym))

    await town.stop("session")
    await town.start("communication")
    await town.start("session")

    assert len(await town.mails(1)) == 1


async def test_a_mail_that_was_handed_over_in_other_words_is_not_owed_any_more(town: Town) -> None:
    """S6: the key of a mail is the session's, so a crash before the note of it cannot send it twice."""
    member, gym = await town.a_member(), await town.a_gym()
    await town.booked(order(member, gym))
    await town.mails(1)

    async with town.mesh.database("user").transaction() as connection:
        await connection.execute("update users set display_name = 'Ada Lovelace'")
    async with town.mesh.database("session").transaction() as connection:
        await connection.execute("update outbox set status = 'pending', due_time = now(), settle_time = null")

    assert len(await town.mails(1)) == 1


async def leave_pending(town: Town, session_id: str, member: str, gym: str) -> None:
    """Leave behind a booking that nobody works on."""
    async with town.mesh.database("session").transaction() as connection:
        await connection.execute("insert into calendars (gym_id) values ($1)", UUID(gym))
        far = TOMORROW.replace(year=TOMORROW.year + 1)
        await connection.execute(LEAVE_PENDING, UUID(session_id), UUID(member), UUID(gym), TOMORROW, far)


async def let_expire(town: Town, session_id: str) -> None:
    """Let the time pass that a booking has."""
    async with town.mesh.database("session").transaction() as connection:
        await connection.execute("update sessions set expire_time = now() where session_id = $1", UUID(session_id))


async def test_an_address_that_takes_no_mail_leaves_a_dead_letter_for_operators(town: Town) -> None:
    """The booking stands; the mail to an address from before the present rule is given up where it can be seen."""
    member = await town.a_member()
    async with town.mesh.database("user").transaction() as connection:
        await connection.execute("update users set email = 'ada@localhost' where user_id = $1", UUID(member))

    session = await town.booked(order(member, await town.a_gym()))

    await town.settled()
    assert (await town.session(session.session_id)).status == session.status
    assert await town.mails(0) == []
    async with town.mesh.database("session").transaction() as connection:
        (dead,) = await connection.fetch("select destination, last_error from outbox where status = 'dead'")
    assert dead["destination"] == "solo60.session.v1.SessionService/SendSessionMail"
    assert "recipient.email" in dead["last_error"]
    assert "localhost" not in dead["last_error"]


@pytest.mark.parametrize(
    ("email", "recipient"),
    [
        # The inbox shows the address without the quotes that it had in SMTP.
        ("two..dots@docomo.ne.jp", "two..dots@docomo.ne.jp"),
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
    ],
)
async def test_an_address_that_a_user_can_have_is_one_that_mail_reaches(town: Town, email: str, recipient: str) -> None:
    """One rule decides for both: old carriers' addresses are quoted in SMTP, and IDN domains go in their ASCII form."""
    member = await town.a_member(email=email)

    await town.booked(order(member, await town.a_gym()))

    (mail,) = await town.mails(1)
    assert mail.recipient == recipient
