from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from contracts.errors import (
    AlreadyCharged,
    CardDeclined,
    InsufficientCredits,
    PaymentNotFound,
    PaymentVoided,
    ServiceError,
)
from contracts.example_messages import example_of
from solo60.payment.v1.payment_pb2 import (
    PAYMENT_STATUS_CAPTURED,
    ChargeSessionRequest,
    ChargeSessionResponse,
    CreditBackSessionRequest,
    CreditBackSessionResponse,
    ListSessionPaymentsRequest,
    ListSessionPaymentsResponse,
    Payment,
    RefundSessionRequest,
    RefundSessionResponse,
)
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from solo60.session.v1.session_pb2 import (
    REFUND_MEANS_CREDITS,
    SESSION_RELATION_PAYMENTS,
    SESSION_STATUS_CANCELLED,
    SESSION_STATUS_CONFIRMED,
    CancelSessionRequest,
    GetSessionRequest,
    RejectSessionRequest,
)
from tests.services.session.booking_mesh import BY_CARD, BY_CREDITS, BY_DECLINED_CARD, book_request, with_key
from tests.services.session.contracts.booking_consumer import CREDITS, GYM_ID, PRICE, USER_ID, BookingConsumer
from tests.services.session.contracts.states_for_user import tomorrows_session
from tests.services.session.stored_sessions import MINUTE, hold_session
from tests.services.session.stores import stores_on
from tests.support.settled_messages import DELIVERED, settled

if TYPE_CHECKING:
    from solo60.payment.v1.payment_pb2 import PaymentMethod
    from solo60.session.v1.session_pb2 import Session
    from tests.support.consumers import Consume

KEY = "cut-off"


@pytest.mark.parametrize(
    ("state", "method"),
    [("a user with enough credits", BY_CREDITS), ("a user with a valid card", BY_CARD)],
    ids=["credits", "card"],
)
async def test_a_session_is_confirmed_after_its_charge(consume: Consume, state: str, method: PaymentMethod) -> None:
    """BookSession charges the price of the session by the method of the request, and confirms the session."""
    consumer = await BookingConsumer.served(consume)
    session_id = await consumer.hold(book_request(USER_ID, GYM_ID, by=method), KEY)
    expect_charge(consumer, session_id, state, method)

    session = await repeat_booking(consumer, method)

    assert (session.session_id, session.status) == (session_id, SESSION_STATUS_CONFIRMED)


@pytest.mark.parametrize(
    ("state", "method", "error", "state_at_refund"),
    [
        (
            "a user with a card that is declined",
            BY_DECLINED_CARD,
            CardDeclined(),
            "a session with a declined payment",
        ),
        ("a user with too few credits", BY_CREDITS, InsufficientCredits(), "a session that is not charged"),
    ],
    ids=["declined", "too few credits"],
)
async def test_a_member_who_cannot_pay_loses_the_slot(
    consume: Consume, state: str, method: PaymentMethod, error: ServiceError, state_at_refund: str
) -> None:
    """BookSession passes on CARD_DECLINED and INSUFFICIENT_CREDITS, and cancels and refunds the session."""
    consumer = await BookingConsumer.served(consume)
    session_id = await consumer.hold(book_request(USER_ID, GYM_ID, by=method), KEY)
    expect_charge(consumer, session_id, state, method, error)
    expect_refund(consumer, session_id, state_at_refund)

    with pytest.raises(type(error)):
        await repeat_booking(consumer, method)

    assert await consumer.status_of(session_id) == SESSION_STATUS_CANCELLED
    assert await settled(consumer.mesh, "session", "RefundSession") == [DELIVERED]


@pytest.mark.parametrize(
    ("state", "error"),
    [("a session that is charged at another price", AlreadyCharged()), ("a voided session", PaymentVoided())],
    ids=["another price", "voided"],
)
async def test_a_session_that_cannot_be_charged_any_more_is_replaced(
    consume: Consume, state: str, error: ServiceError
) -> None:
    """BookSession cancels and refunds the session, and answers UNAVAILABLE. The client's retry books another one."""
    consumer = await BookingConsumer.served(consume)
    session_id = await consumer.hold(book_request(USER_ID, GYM_ID), KEY)
    expect_charge(consumer, session_id, state, BY_CREDITS, error)
    expect_refund(consumer, session_id, state)
    consumer.answer_for_users()
    consumer.answer_for_gyms()
    consumer.answer_for_payments()

    session = await repeat_booking(consumer, BY_CREDITS)

    assert session.session_id != session_id
    assert await consumer.status_of(session_id) == SESSION_STATUS_CANCELLED
    assert await settled(consumer.mesh, "session", "RefundSession") == [DELIVERED]


async def test_a_cancelled_session_is_refunded(consume: Consume) -> None:
    """CancelSession refunds the way the session was paid, through the outbox."""
    consumer = await BookingConsumer.served(consume)
    session_id = str((await tomorrows_session(consumer.mesh)).session_id)
    expect_refund(consumer, session_id, "a session paid in credits")

    await consumer.sessions.CancelSession(CancelSessionRequest(session_id=session_id))

    assert await settled(consumer.mesh, "session", "RefundSession") == [DELIVERED]


async def test_a_rejected_session_is_refunded(consume: Consume) -> None:
    """RejectSession refunds the way the session was paid, through the outbox."""
    consumer = await BookingConsumer.served(consume)
    session_id = str((await tomorrows_session(consumer.mesh, requires_approval=True)).session_id)
    expect_refund(consumer, session_id, "a session paid by card")

    await consumer.sessions.RejectSession(RejectSessionRequest(session_id=session_id, reason="closed for repairs"))

    assert await settled(consumer.mesh, "session", "RefundSession") == [DELIVERED]


async def test_an_expired_hold_is_refunded(consume: Consume) -> None:
    """If a process dies while booking, the refund prevents a charge that has not arrived yet."""
    consumer = await BookingConsumer.served(consume)
    bookings, now = stores_on(consumer.mesh.database("session")).bookings, consumer.mesh.clock.now()
    session_id = str((await hold_session(bookings, now=now, start=now + MINUTE)).session_id)
    expect_refund(consumer, session_id, "a session that is not charged")

    consumer.mesh.clock.advance(MINUTE)

    assert await settled(consumer.mesh, "session", "RefundSession") == [DELIVERED]


async def test_a_cancelled_session_is_credited_back(consume: Consume) -> None:
    """CancelSession refunds in credits if the member prefers credits, through the outbox."""
    consumer = await BookingConsumer.served(consume)
    session_id = str((await tomorrows_session(consumer.mesh)).session_id)
    payments = consumer.expectations.later(PaymentServiceStub).given("a session paid by card", session_id=session_id)
    payments.CreditBackSession(
        request=CreditBackSessionRequest(session_id=session_id), answer=CreditBackSessionResponse()
    )

    await cancel_for_credits(consumer, session_id)

    assert await settled(consumer.mesh, "session", "CreditBackSession") == [DELIVERED]


async def test_a_session_without_a_payment_is_cancelled_but_its_refund_in_credits_becomes_a_dead_letter(
    consume: Consume,
) -> None:
    """CancelSession succeeds, and the refund stays in the outbox with the error."""
    consumer = await BookingConsumer.served(consume)
    session_id = str((await tomorrows_session(consumer.mesh)).session_id)
    payments = consumer.expectations.later(PaymentServiceStub).given(
        "a session that is not charged", session_id=session_id
    )
    payments.CreditBackSession(request=CreditBackSessionRequest(session_id=session_id), error=PaymentNotFound())

    await cancel_for_credits(consumer, session_id)

    assert await consumer.status_of(session_id) == SESSION_STATUS_CANCELLED
    (last_error,) = await settled(consumer.mesh, "session", "CreditBackSession")
    assert "PAYMENT_NOT_FOUND" in last_error


async def test_a_session_is_returned_with_its_payments(consume: Consume) -> None:
    """GetSession returns the payments as the payment service does, up to the page without a next one."""
    consumer = await BookingConsumer.served(consume)
    session = await tomorrows_session(consumer.mesh)
    session_id, user_id = str(session.session_id), str(session.order.user_id)
    payments = consumer.expectations.of(PaymentServiceStub).given(
        "a session paid in credits", session_id=session_id, user_id=user_id
    )
    payment = Payment(session_id=session_id, user_id=user_id, status=PAYMENT_STATUS_CAPTURED, credits=CREDITS)
    payments.ListSessionPayments(
        request=ListSessionPaymentsRequest(session_id=session_id),
        answer=ListSessionPaymentsResponse(payments=[payment]),
        unset=["next_page_token"],
    )

    (found,) = await payments_of(consumer, session_id)

    assert (found.status, found.credits) == (PAYMENT_STATUS_CAPTURED, CREDITS)


async def test_every_page_of_payments_is_read(consume: Consume) -> None:
    """GetSession asks for payments until a page is the last."""
    consumer = await BookingConsumer.served(consume)
    session_id = str((await tomorrows_session(consumer.mesh)).session_id)
    payment = example_of(Payment)
    payments = consumer.expectations.fake.of(PaymentServiceStub)
    payments.ListSessionPayments(
        request=ListSessionPaymentsRequest(session_id=session_id),
        answer=ListSessionPaymentsResponse(payments=[payment], next_page_token="second"),  # noqa: S106 - not a secret
        times=1,
    )
    payments.ListSessionPayments(
        request=ListSessionPaymentsRequest(session_id=session_id, page_token="second"),  # noqa: S106 - as above
        answer=ListSessionPaymentsResponse(payments=[payment]),
    )

    assert len(await payments_of(consumer, session_id)) == 2


async def test_a_session_without_a_payment_is_returned_with_none(consume: Consume) -> None:
    """GetSession succeeds for a session that is not charged yet."""
    consumer = await BookingConsumer.served(consume)
    session_id = str((await tomorrows_session(consumer.mesh)).session_id)
    payments = consumer.expectations.of(PaymentServiceStub).given(
        "a session that is not charged", session_id=session_id
    )
    payments.ListSessionPayments(
        request=ListSessionPaymentsRequest(session_id=session_id),
        answer=ListSessionPaymentsResponse(),
        unset=["payments", "next_page_token"],
    )

    assert await payments_of(consumer, session_id) == []


def expect_charge(
    consumer: BookingConsumer, session_id: str, state: str, method: PaymentMethod, error: ServiceError | None = None
) -> None:
    """Expect a charge, which succeeds unless there is an error."""
    card = {"card_token": method.card.card_token} if method.HasField("card") else {}
    payments = consumer.expectations.of(PaymentServiceStub).given(state, session_id=session_id, user_id=USER_ID, **card)
    request = ChargeSessionRequest(
        session_id=session_id, user_id=USER_ID, price=PRICE, credits=CREDITS, payment_method=method
    )
    payments.ChargeSession(request=request, answer=None if error else ChargeSessionResponse(), error=error)


def expect_refund(consumer: BookingConsumer, session_id: str, state: str) -> None:
    """Expect a refund by a later call."""
    payments = consumer.expectations.later(PaymentServiceStub).given(state, session_id=session_id)
    payments.RefundSession(request=RefundSessionRequest(session_id=session_id), answer=RefundSessionResponse())


async def repeat_booking(consumer: BookingConsumer, method: PaymentMethod) -> Session:
    """Repeat the call that was cut off before the charge, and return the session."""
    request = book_request(USER_ID, GYM_ID, by=method)
    return (await consumer.sessions.BookSession(request, metadata=with_key(KEY))).session


async def cancel_for_credits(consumer: BookingConsumer, session_id: str) -> None:
    """Cancel a session and request the refund in credits."""
    request = CancelSessionRequest(session_id=session_id, refund_in=REFUND_MEANS_CREDITS)
    await consumer.sessions.CancelSession(request)


async def payments_of(consumer: BookingConsumer, session_id: str) -> list[Payment]:
    """Return the payments of a session."""
    request = GetSessionRequest(session_id=session_id, include=[SESSION_RELATION_PAYMENTS])
    return list((await consumer.sessions.GetSession(request)).payments)
