from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from contracts.errors import (
    CardDeclined,
    InvalidRequest,
    PaymentNotCaptured,
    PaymentNotFound,
    RefundAbovePayment,
    RefundIdReused,
)
from solo60.common.v1.money_pb2 import Money
from solo60.payment.v1.payment_pb2 import (
    PAYMENT_STATUS_CAPTURED,
    PAYMENT_STATUS_REFUNDED,
    REFUND_OUTCOME_PARTIALLY_REFUNDED,
    REFUND_OUTCOME_REFUNDED,
    GetPaymentRequest,
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
    refund_credits,
    refund_part,
    some_id,
)

if TYPE_CHECKING:
    from mesh.data.database import Database
    from solo60.payment.v1.payment_pb2 import ChargeSessionRequest, Payment
    from solo60.payment.v1.payment_pb2_grpc import PaymentServiceAsyncStub
    from tests.support.serving import MeshForTests


async def card_charge(payments: PaymentServiceAsyncStub) -> ChargeSessionRequest:
    """Charge a card, and return the request."""
    request = charge(BY_CARD)
    await payments.ChargeSession(request)
    return request


async def credit_charge(payments: PaymentServiceAsyncStub) -> ChargeSessionRequest:
    """Charge a member who has 10 credits, and return the request."""
    request = charge(BY_CREDITS)
    await grant(payments, request.user_id, 10)
    await payments.ChargeSession(request)
    return request


def amounts(payment: Payment) -> list[int]:
    """Return the amounts of the refunds of a payment, in minor units or credits."""
    return [each.money.minor_units or each.credits for each in payment.refunds]


async def test_parts_of_a_card_payment_are_refunded(payments: PaymentServiceAsyncStub, mesh: MeshForTests) -> None:
    """Two parts return to the card, and the payment lists both and remains captured."""
    request = await card_charge(payments)

    first = await payments.RefundSession(refund_part(request, 250))
    second = await payments.RefundSession(refund_part(request, 500))

    assert first.outcome == second.outcome == REFUND_OUTCOME_PARTIALLY_REFUNDED
    assert second.payment.status == PAYMENT_STATUS_CAPTURED
    assert amounts(second.payment) == [250, 500]
    assert second.payment.refunds[0].reason == "broken shower"
    assert not second.payment.HasField("refund")
    assert await net_card_charges(mesh.database("payment")) == PENCE - 750
    assert await company_account_sum(mesh.database("payment"), "cards", "GBP") == -(PENCE - 750)
    stored = await payments.GetPayment(GetPaymentRequest(payment_id=second.payment.payment_id))
    assert stored.payment == second.payment


async def test_parts_of_a_payment_in_credits_are_refunded(payments: PaymentServiceAsyncStub) -> None:
    """A part returns to the balance, and the last part ends the payment."""
    request = await credit_charge(payments)

    first = await payments.RefundSession(refund_credits(request, 1))
    balance_between = await balance(payments, request.user_id)
    second = await payments.RefundSession(refund_credits(request, CREDITS - 1))

    assert balance_between == 10 - CREDITS + 1
    assert (first.payment.status, second.payment.status) == (PAYMENT_STATUS_CAPTURED, PAYMENT_STATUS_REFUNDED)
    assert second.payment.refund.credits == CREDITS - 1
    assert await balance(payments, request.user_id) == 10


async def test_the_last_part_ends_the_payment(payments: PaymentServiceAsyncStub, mesh: MeshForTests) -> None:
    """When nothing is left, the payment is REFUNDED, and further refunds change nothing."""
    request = await card_charge(payments)
    await payments.RefundSession(refund_part(request, 250))

    last = await payments.RefundSession(refund_part(request, PENCE - 250))
    whole = await payments.RefundSession(refund(request))

    assert last.payment.status == PAYMENT_STATUS_REFUNDED
    assert whole == RefundSessionResponse(outcome=REFUND_OUTCOME_REFUNDED, payment=last.payment)
    assert await net_card_charges(mesh.database("payment")) == 0
    with pytest.raises(PaymentNotCaptured):
        await payments.RefundSession(refund_part(request, 1))


async def test_a_repeated_part_is_refunded_once(payments: PaymentServiceAsyncStub, mesh: MeshForTests) -> None:
    """Twenty concurrent calls with one refund id, and a later one, refund the part once with the same answer."""
    request = await card_charge(payments)
    part = refund_part(request, 250)

    answers = await asyncio.gather(*[payments.RefundSession(part) for _ in range(20)])
    later = await payments.RefundSession(part)

    assert {amounts(answer.payment)[0] for answer in answers} == {250}
    assert amounts(later.payment) == [250]
    assert await net_card_charges(mesh.database("payment")) == PENCE - 250
    assert await count(mesh.database("payment"), "refunds") == 1


async def test_a_whole_refund_returns_the_rest(payments: PaymentServiceAsyncStub, mesh: MeshForTests) -> None:
    """The refund of a session after a partial refund returns the rest to the card."""
    request = await card_charge(payments)
    await payments.RefundSession(refund_part(request, 250))

    answer = await payments.RefundSession(refund(request))

    assert answer.outcome == REFUND_OUTCOME_REFUNDED
    assert amounts(answer.payment) == [250, PENCE - 250]
    assert answer.payment.refund == answer.payment.refunds[1]
    assert await net_card_charges(mesh.database("payment")) == 0
    assert await company_account_sum(mesh.database("payment"), "income", "GBP") == 0


async def test_a_credit_back_returns_the_rest_in_credits(payments: PaymentServiceAsyncStub) -> None:
    """A credit-back after a partial refund gives the same share of the price in credits, rounded up."""
    request = await card_charge(payments)
    await payments.RefundSession(refund_part(request, 500))

    answer = await payments.CreditBackSession(credit_back(request))

    assert answer.payment.status == PAYMENT_STATUS_REFUNDED
    assert amounts(answer.payment) == [500, 2]  # 60 % of 3 credits
    assert await balance(payments, request.user_id) == 2


async def test_parts_never_exceed_the_payment(payments: PaymentServiceAsyncStub, mesh: MeshForTests) -> None:
    """Of ten concurrent parts that sum to twice the payment, five are refunded, and the others are rejected."""
    request = await card_charge(payments)

    answers = await asyncio.gather(
        *[payments.RefundSession(refund_part(request, PENCE // 5)) for _ in range(10)], return_exceptions=True
    )

    errors = [type(answer) for answer in answers if isinstance(answer, Exception)]
    assert len(errors) == 5
    assert set(errors) <= {RefundAbovePayment, PaymentNotCaptured}
    assert await net_card_charges(mesh.database("payment")) == 0


async def test_a_part_and_a_whole_refund_at_once_return_the_price(
    payments: PaymentServiceAsyncStub, mesh: MeshForTests
) -> None:
    """After ten races of a partial refund with a refund of the session, all sessions are refunded exactly."""
    requests = [await card_charge(payments) for _ in range(10)]

    async def race(request: ChargeSessionRequest) -> None:
        part, whole = await asyncio.gather(
            payments.RefundSession(refund_part(request, 250)),
            payments.RefundSession(refund(request)),
            return_exceptions=True,
        )
        assert isinstance(whole, RefundSessionResponse)
        assert isinstance(part, RefundSessionResponse | PaymentNotCaptured)
        assert whole.payment.status == PAYMENT_STATUS_REFUNDED

    await asyncio.gather(*map(race, requests))

    assert await net_card_charges(mesh.database("payment")) == 0
    assert await company_account_sum(mesh.database("payment"), "income", "GBP") == 0


async def test_a_part_must_be_in_the_method_and_currency_of_the_payment(payments: PaymentServiceAsyncStub) -> None:
    """A part above the rest, in another currency or in another method is REFUND_ABOVE_PAYMENT."""
    by_card, by_credits = await card_charge(payments), await credit_charge(payments)
    other_currency = refund_part(by_card, 1)
    other_currency.money.currency_code = "EUR"

    for bad in (
        refund_part(by_card, PENCE + 1),
        other_currency,
        refund_credits(by_card, 1),
        refund_part(by_credits, 1),
        refund_credits(by_credits, CREDITS + 1),
    ):
        with pytest.raises(RefundAbovePayment):
            await payments.RefundSession(bad)


async def test_a_refund_id_belongs_to_one_refund(payments: PaymentServiceAsyncStub) -> None:
    """A refund id with another amount or another session is REFUND_ID_REUSED."""
    request, other = await card_charge(payments), await card_charge(payments)
    part = refund_part(request, 250)
    await payments.RefundSession(part)

    for bad in (refund_part(request, 251, part.refund_id), refund_part(other, 250, part.refund_id)):
        with pytest.raises(RefundIdReused):
            await payments.RefundSession(bad)


async def test_no_part_of_an_uncaptured_payment_is_refunded(payments: PaymentServiceAsyncStub) -> None:
    """A part of an unknown session is PAYMENT_NOT_FOUND, and of a declined or refunded one PAYMENT_NOT_CAPTURED."""
    with pytest.raises(PaymentNotFound):
        await payments.RefundSession(refund_part(charge(), 1))
    declined = charge(BY_DECLINED_CARD)
    with pytest.raises(CardDeclined):
        await payments.ChargeSession(declined)
    refunded = await card_charge(payments)
    await payments.RefundSession(refund(refunded))

    for request in (declined, refunded):
        with pytest.raises(PaymentNotCaptured):
            await payments.RefundSession(refund_part(request, 1))


async def test_an_amount_and_a_refund_id_belong_together(payments: PaymentServiceAsyncStub) -> None:
    """A refund with only an amount or only a refund id, or with an amount of zero, is rejected."""
    pound = Money(currency_code="GBP", minor_units=100)
    cases: list[dict[str, Any]] = [
        {"money": pound},
        {"credits": 1},
        {"refund_id": some_id()},
        {"refund_id": "17", "money": pound},
        {"refund_id": some_id(), "money": Money(currency_code="GBP")},
        {"refund_id": some_id(), "credits": 0},
    ]
    for bad in cases:
        with pytest.raises(InvalidRequest):
            await payments.RefundSession(RefundSessionRequest(session_id=some_id(), **bad))


async def test_the_database_rejects_refunds_above_the_charge(
    payments: PaymentServiceAsyncStub, mesh: MeshForTests
) -> None:
    """A version that refunds a payment as a whole cannot record it after a partial refund."""
    request = await card_charge(payments)
    part = (await payments.RefundSession(refund_part(request, 250))).payment

    with pytest.raises(asyncpg.CheckViolationError, match="above its charge"):
        await refund_as_an_older_version(mesh.database("payment"), part.payment_id)


async def refund_as_an_older_version(database: Database, payment_id: str) -> None:
    """Post the refund of a whole card payment."""
    async with database.transaction() as connection:
        refund_id = await connection.fetchval(
            "insert into transactions (kind, payment_id, reverses, reason, create_time)"
            " select 'refund', payment_id, transaction_id, '', now() from transactions"
            " where payment_id = $1 and kind = 'charge' returning transaction_id",
            payment_id,
        )
        await connection.execute(
            "insert into entries (transaction_id, account_id, currency, amount)"
            " select $1, account_id, currency, -amount from entries"
            " where transaction_id = (select reverses from transactions where transaction_id = $1)",
            refund_id,
        )


async def test_a_payment_refunded_by_an_older_version_lists_its_refund(
    payments: PaymentServiceAsyncStub, mesh: MeshForTests
) -> None:
    """A payment without rows of refunds, as older versions leave it, lists the refund of the whole payment."""
    request = await card_charge(payments)
    refunded = (await payments.RefundSession(refund(request))).payment
    async with mesh.database("payment").transaction() as connection:
        await connection.execute("alter table refunds disable trigger refunds_stay")
        await connection.execute("delete from refunds")
        await connection.execute("alter table refunds enable trigger refunds_stay")

    found = await payments.GetPayment(GetPaymentRequest(payment_id=refunded.payment_id))

    assert found.payment == refunded
    assert amounts(found.payment) == [PENCE]
