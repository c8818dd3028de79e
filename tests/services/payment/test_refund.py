from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

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
from tests.services.payment.ledger_queries import company_account_sum, count, net_card_charges
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
    """Return the payments of a session as stored now."""
    return list((await payments.ListSessionPayments(ListSessionPaymentsRequest(session_id=session_id))).payments)


@pytest.mark.requirement("J2")
async def test_a_card_payment_is_refunded_to_the_card(payments: PaymentServiceAsyncStub, mesh: MeshForTests) -> None:
    """Refunding a card payment returns the money to the card, and the payment shows the amount and the reason."""
    request = charge(BY_CARD)
    await payments.ChargeSession(request)

    answer = await payments.RefundSession(refund(request, "session cancelled"))

    assert answer.outcome == REFUND_OUTCOME_REFUNDED
    assert answer.payment.status == PAYMENT_STATUS_REFUNDED
    assert answer.payment.refund.money == request.price
    assert answer.payment.refund.reason == "session cancelled"
    assert await net_card_charges(mesh.database("payment")) == 0
    assert await company_account_sum(mesh.database("payment"), "income", "GBP") == 0
    assert await stored(payments, request.session_id) == [answer.payment]


@pytest.mark.requirement("J2")
async def test_a_credit_payment_is_refunded_to_the_balance(payments: PaymentServiceAsyncStub) -> None:
    """Refunding a payment in credits restores the member's balance."""
    request = charge(BY_CREDITS)
    await grant(payments, request.user_id, 10)
    await payments.ChargeSession(request)

    answer = await payments.RefundSession(refund(request))

    assert answer.outcome == REFUND_OUTCOME_REFUNDED
    assert answer.payment.refund.credits == CREDITS
    assert await balance(payments, request.user_id) == 10


@pytest.mark.requirement("S6")
@EITHER_METHOD
async def test_fifty_concurrent_refunds_refund_once(
    payments: PaymentServiceAsyncStub, mesh: MeshForTests, method: PaymentMethod
) -> None:
    """Fifty concurrent refunds of one session refund it once and return the same outcome."""
    request = charge(method)
    await grant(payments, request.user_id, 10)
    await payments.ChargeSession(request)

    answers = await asyncio.gather(*[payments.RefundSession(refund(request)) for _ in range(50)])

    assert [answer.outcome for answer in answers] == [REFUND_OUTCOME_REFUNDED] * 50
    assert await balance(payments, request.user_id) == 10
    assert await net_card_charges(mesh.database("payment")) == 0
    assert await count(mesh.database("payment"), "transactions") == 3  # grant, charge, refund


@pytest.mark.requirement("S6")
async def test_a_repeated_refund_does_not_change_the_reason(payments: PaymentServiceAsyncStub) -> None:
    """A repeated refund with another reason returns the first answer with the first reason."""
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
    """A refund before any charge voids the session, and every later charge fails with PAYMENT_VOIDED."""
    request = charge(method)
    await grant(payments, request.user_id, 10)

    for _ in range(2):
        answer = await payments.RefundSession(refund(request))
        assert answer == RefundSessionResponse(outcome=REFUND_OUTCOME_VOIDED)
        with pytest.raises(PaymentVoided):
            await payments.ChargeSession(request)

    assert await stored(payments, request.session_id) == []
    assert await balance(payments, request.user_id) == 10
    assert await net_card_charges(mesh.database("payment")) == 0


async def test_a_declined_session_has_nothing_to_refund(payments: PaymentServiceAsyncStub) -> None:
    """Refunding a declined session returns VOIDED, and a repeated charge is still declined."""
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
async def test_a_concurrent_charge_and_refund_return_the_price(
    payments: PaymentServiceAsyncStub, mesh: MeshForTests, method: PaymentMethod
) -> None:
    """After each of 60 races between charge and refund the session is refunded or voided and nothing is paid."""
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

    assert await net_card_charges(mesh.database("payment")) == 0
    assert await balance(payments, user_id) == 1000
    async with mesh.database("payment").connection() as connection:
        statuses = {row[0] for row in await connection.fetch("select distinct status from payments")}
    assert statuses <= {"refunded", "voided"}


@pytest.mark.requirement("J2")
async def test_a_card_payment_can_be_credited_back(payments: PaymentServiceAsyncStub, mesh: MeshForTests) -> None:
    """Crediting back a card payment grants its price in credits and returns no money."""
    request = charge(BY_CARD)
    await payments.ChargeSession(request)

    payment = (await payments.CreditBackSession(credit_back(request, "gym closed"))).payment

    assert payment.status == PAYMENT_STATUS_REFUNDED
    assert payment.money == request.price
    assert payment.refund.credits == CREDITS
    assert payment.refund.reason == "gym closed"
    assert await balance(payments, request.user_id) == CREDITS
    assert await net_card_charges(mesh.database("payment")) == PENCE


async def test_a_credit_payment_can_be_credited_back(payments: PaymentServiceAsyncStub) -> None:
    """Crediting back a payment in credits restores the member's balance, like a refund."""
    request = charge(BY_CREDITS)
    await grant(payments, request.user_id, 10)
    await payments.ChargeSession(request)

    payment = (await payments.CreditBackSession(credit_back(request))).payment

    assert payment.refund.credits == CREDITS
    assert await balance(payments, request.user_id) == 10


@EITHER_METHOD
async def test_a_session_is_given_back_only_once(
    payments: PaymentServiceAsyncStub, mesh: MeshForTests, method: PaymentMethod
) -> None:
    """One of several concurrent refunds and credit-backs of a session gives back the price, and all answers show it."""
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


async def test_a_session_that_took_nothing_cannot_be_credited_back(payments: PaymentServiceAsyncStub) -> None:
    """Crediting back an uncharged, declined or voided session fails with PAYMENT_NOT_FOUND."""
    declined, voided = charge(BY_DECLINED_CARD), charge()
    with pytest.raises(CardDeclined):
        await payments.ChargeSession(declined)
    await payments.RefundSession(refund(voided))

    for request in (charge(), declined, voided):
        with pytest.raises(PaymentNotFound):
            await payments.CreditBackSession(credit_back(request))


async def test_a_credit_back_without_a_charge_leaves_the_session_chargeable(payments: PaymentServiceAsyncStub) -> None:
    """A credit-back without a charge does not void the session, unlike RefundSession."""
    request = charge()
    with pytest.raises(PaymentNotFound):
        await payments.CreditBackSession(credit_back(request))

    assert isinstance(await payments.ChargeSession(request), ChargeSessionResponse)


@pytest.mark.requirement("C3")
async def test_an_invalid_refund_or_credit_back_names_its_field(payments: PaymentServiceAsyncStub) -> None:
    """A refund or credit-back with an invalid id or reason is rejected with a violation that names the field."""
    cases: list[tuple[dict[str, Any], str]] = [
        ({"session_id": "17"}, "session_id"),
        ({"session_id": some_id(), "reason": "r" * 501}, "reason"),
        ({"session_id": some_id(), "reason": "a\x00b"}, "reason"),
    ]
    for bad, field in cases:
        with pytest.raises(InvalidRequest) as refused:
            await payments.RefundSession(RefundSessionRequest(**bad))
        assert [violation.field for violation in refused.value.violations] == [field]
        with pytest.raises(InvalidRequest) as refused:
            await payments.CreditBackSession(CreditBackSessionRequest(**bad))
        assert [violation.field for violation in refused.value.violations] == [field]


async def test_a_refund_after_a_credit_back_returns_the_credit_back(payments: PaymentServiceAsyncStub) -> None:
    """Refunding a session that was credited back returns REFUNDED and the unchanged payment."""
    request = charge(BY_CARD)
    await payments.ChargeSession(request)
    credited: CreditBackSessionResponse = await payments.CreditBackSession(credit_back(request))

    answer = await payments.RefundSession(refund(request))

    assert answer.outcome == REFUND_OUTCOME_REFUNDED
    assert answer.payment == credited.payment
