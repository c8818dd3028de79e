from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from contracts.errors import CardDeclined, InvalidRequest, PaymentNotFound, PaymentVoided
from solo60.payment.v1.payment_pb2 import (
    PAYMENT_STATUS_DECLINED,
    PAYMENT_STATUS_REFUNDED,
    REFUND_OUTCOME_REFUNDED,
    REFUND_OUTCOME_VOIDED,
    ChargeSessionResponse,
    CreditBackSessionRequest,
    CreditBackSessionResponse,
    ListSessionPaymentsRequest,
    PaymentMethod,
    RefundSessionRequest,
    RefundSessionResponse,
)
from tests.services.payment.ledger import count, held_by_cards, house_sum
from tests.services.payment.requests import (
    BY_CARD,
    BY_CREDITS,
    BY_DECLINED_CARD,
    CREDITS,
    PENCE,
    balance,
    charge,
    credit_back,
    grant,
    refund,
    some_id,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from solo60.payment.v1.payment_pb2 import Payment
    from solo60.payment.v1.payment_pb2_grpc import PaymentServiceAsyncStub
    from tests.support.serving import MeshForTests

EITHER_METHOD = pytest.mark.parametrize("method", [BY_CARD, BY_CREDITS], ids=["card", "credits"])


async def stored(payments: PaymentServiceAsyncStub, session_id: str) -> list[Payment]:
    """Return the payments of a session as they stand now."""
    return list((await payments.ListSessionPayments(ListSessionPaymentsRequest(session_id=session_id))).payments)


@pytest.mark.requirement("J2")
async def test_a_card_payment_goes_back_to_the_card(payments: PaymentServiceAsyncStub, mesh: MeshForTests) -> None:
    """The money is returned the way it came, and the payment says how and why."""
    request = charge(BY_CARD)
    await payments.ChargeSession(request)

    answer = await payments.RefundSession(refund(request, "session cancelled"))

    assert answer.outcome == REFUND_OUTCOME_REFUNDED
    assert answer.payment.status == PAYMENT_STATUS_REFUNDED
    assert answer.payment.refund.money == request.price
    assert answer.payment.refund.reason == "session cancelled"
    assert await held_by_cards(mesh.database("payment")) == 0
    assert await house_sum(mesh.database("payment"), "income", "GBP") == 0
    assert await stored(payments, request.session_id) == [answer.payment]


@pytest.mark.requirement("J2")
async def test_a_credit_payment_goes_back_to_the_balance(payments: PaymentServiceAsyncStub) -> None:
    """The member has the credits again."""
    request = charge(BY_CREDITS)
    await grant(payments, request.user_id, 10)
    await payments.ChargeSession(request)

    answer = await payments.RefundSession(refund(request))

    assert answer.outcome == REFUND_OUTCOME_REFUNDED
    assert answer.payment.refund.credits == CREDITS
    assert await balance(payments, request.user_id) == 10


@pytest.mark.requirement("S6")
@EITHER_METHOD
async def test_fifty_refunds_at_once_give_back_once(
    payments: PaymentServiceAsyncStub, mesh: MeshForTests, method: PaymentMethod
) -> None:
    """Whoever comes first refunds; all are told the same."""
    request = charge(method)
    await grant(payments, request.user_id, 10)
    await payments.ChargeSession(request)

    answers = await asyncio.gather(*[payments.RefundSession(refund(request)) for _ in range(50)])

    assert [answer.outcome for answer in answers] == [REFUND_OUTCOME_REFUNDED] * 50
    assert await balance(payments, request.user_id) == 10
    assert await held_by_cards(mesh.database("payment")) == 0
    assert await count(mesh.database("payment"), "transactions") == 3  # grant, charge, refund


@pytest.mark.requirement("S6")
async def test_a_repeated_refund_keeps_the_first_reason(payments: PaymentServiceAsyncStub) -> None:
    """What was given back stays as it is."""
    request = charge(BY_CARD)
    await payments.ChargeSession(request)

    first = await payments.RefundSession(refund(request, "session cancelled"))
    second = await payments.RefundSession(refund(request, "gym closed"))

    assert second == first


@pytest.mark.requirement("J6")
@EITHER_METHOD
async def test_a_session_voided_before_its_charge_is_never_charged(
    payments: PaymentServiceAsyncStub, mesh: MeshForTests, method: PaymentMethod
) -> None:
    """A refund that overtakes its charge leaves word of it, and the late charge is PAYMENT_VOIDED."""
    request = charge(method)
    await grant(payments, request.user_id, 10)

    for _ in range(2):
        answer = await payments.RefundSession(refund(request))
        assert answer == RefundSessionResponse(outcome=REFUND_OUTCOME_VOIDED)
        with pytest.raises(PaymentVoided):
            await payments.ChargeSession(request)

    assert await stored(payments, request.session_id) == []
    assert await balance(payments, request.user_id) == 10
    assert await held_by_cards(mesh.database("payment")) == 0


async def test_a_declined_session_has_nothing_to_give_back(payments: PaymentServiceAsyncStub) -> None:
    """The refund says so, and the decline stays the session's end."""
    request = charge(BY_DECLINED_CARD)
    with pytest.raises(CardDeclined):
        await payments.ChargeSession(request)

    answer = await payments.RefundSession(refund(request))

    assert answer.outcome == REFUND_OUTCOME_VOIDED
    assert answer.payment.status == PAYMENT_STATUS_DECLINED
    with pytest.raises(CardDeclined):
        await payments.ChargeSession(request)


@pytest.mark.requirement("J6")
@EITHER_METHOD
async def test_a_charge_and_a_refund_at_once_never_leave_the_price_taken(
    payments: PaymentServiceAsyncStub, mesh: MeshForTests, method: PaymentMethod
) -> None:
    """In sixty races a session ends refunded or voided, whoever wins and however calls are repeated."""
    user_id = some_id()
    await grant(payments, user_id, 1000)
    requests = [charge(method, user_id=user_id) for _ in range(60)]

    async def race(number: int) -> None:
        request = requests[number]
        calls: list[Awaitable[object]] = [payments.ChargeSession(request), payments.RefundSession(refund(request))]
        if number % 2:
            calls.reverse()
        calls.append(payments.ChargeSession(request))
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(answer) for answer in answers} <= {ChargeSessionResponse, RefundSessionResponse, PaymentVoided}

    for first in range(0, 60, 10):
        await asyncio.gather(*map(race, range(first, first + 10)))

    assert await held_by_cards(mesh.database("payment")) == 0
    assert await balance(payments, user_id) == 1000
    async with mesh.database("payment").connection() as connection:
        statuses = {row[0] for row in await connection.fetch("select distinct status from payments")}
    assert statuses <= {"refunded", "voided"}


@pytest.mark.requirement("J2")
async def test_a_card_payment_is_given_back_in_credits(payments: PaymentServiceAsyncStub, mesh: MeshForTests) -> None:
    """The house keeps the money, and the member gets the price in credits."""
    request = charge(BY_CARD)
    await payments.ChargeSession(request)

    payment = (await payments.CreditBackSession(credit_back(request, "gym closed"))).payment

    assert payment.status == PAYMENT_STATUS_REFUNDED
    assert payment.money == request.price
    assert payment.refund.credits == CREDITS
    assert payment.refund.reason == "gym closed"
    assert await balance(payments, request.user_id) == CREDITS
    assert await held_by_cards(mesh.database("payment")) == PENCE


async def test_a_credit_payment_is_credited_back_as_it_was_paid(payments: PaymentServiceAsyncStub) -> None:
    """Credits for credits is the same as a refund."""
    request = charge(BY_CREDITS)
    await grant(payments, request.user_id, 10)
    await payments.ChargeSession(request)

    payment = (await payments.CreditBackSession(credit_back(request))).payment

    assert payment.refund.credits == CREDITS
    assert await balance(payments, request.user_id) == 10


@EITHER_METHOD
async def test_a_session_is_given_back_in_one_way_only(
    payments: PaymentServiceAsyncStub, mesh: MeshForTests, method: PaymentMethod
) -> None:
    """Refunds and credit-backs at once: one of them gives, and all answers show which."""
    for _ in range(10):
        request = charge(method)
        await grant(payments, request.user_id, 10)
        await payments.ChargeSession(request)
        calls: list[Awaitable[RefundSessionResponse | CreditBackSessionResponse]] = []
        for _ in range(3):
            calls += [payments.RefundSession(refund(request)), payments.CreditBackSession(credit_back(request))]

        answers = await asyncio.gather(*calls)

        assert all(answer.payment == answers[0].payment for answer in answers)
        is_to_card = answers[0].payment.refund.HasField("money")
        spent = CREDITS if method is BY_CREDITS else 0
        assert await balance(payments, request.user_id) == 10 - spent + (0 if is_to_card else CREDITS)
        async with mesh.database("payment").connection() as connection:
            returned = await connection.fetchval(
                "select returned from card_charges where idempotency_key = $1", request.session_id
            )
        assert bool(returned) == is_to_card


async def test_what_took_nothing_cannot_be_credited_back(payments: PaymentServiceAsyncStub) -> None:
    """PAYMENT_NOT_FOUND: no charge, a declined one, a voided session."""
    declined, voided = charge(BY_DECLINED_CARD), charge()
    with pytest.raises(CardDeclined):
        await payments.ChargeSession(declined)
    await payments.RefundSession(refund(voided))

    for request in (charge(), declined, voided):
        with pytest.raises(PaymentNotFound):
            await payments.CreditBackSession(credit_back(request))


async def test_a_credit_back_without_a_charge_leaves_the_session_chargeable(payments: PaymentServiceAsyncStub) -> None:
    """Unlike RefundSession, it promises nothing about a charge to come."""
    request = charge()
    with pytest.raises(PaymentNotFound):
        await payments.CreditBackSession(credit_back(request))

    assert isinstance(await payments.ChargeSession(request), ChargeSessionResponse)


@pytest.mark.requirement("C3")
async def test_a_bad_request_to_give_back_is_refused_with_its_field(payments: PaymentServiceAsyncStub) -> None:
    """The id is no id, the reason is too long or cannot be stored."""
    for bad, field in (
        ({"session_id": "17"}, "session_id"),
        ({"session_id": some_id(), "reason": "r" * 501}, "reason"),
        ({"session_id": some_id(), "reason": "a\x00b"}, "reason"),
    ):
        with pytest.raises(InvalidRequest) as refused:
            await payments.RefundSession(RefundSessionRequest(**bad))
        assert [violation.field for violation in refused.value.violations] == [field]
        with pytest.raises(InvalidRequest) as refused:
            await payments.CreditBackSession(CreditBackSessionRequest(**bad))
        assert [violation.field for violation in refused.value.violations] == [field]


async def test_a_refund_after_a_credit_back_shows_how_it_was_given_back(payments: PaymentServiceAsyncStub) -> None:
    """A session given back in credits stays so; RefundSession reports it as refunded."""
    request = charge(BY_CARD)
    await payments.ChargeSession(request)
    credited: CreditBackSessionResponse = await payments.CreditBackSession(credit_back(request))

    answer = await payments.RefundSession(refund(request))

    assert answer.outcome == REFUND_OUTCOME_REFUNDED
    assert answer.payment == credited.payment
