from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from contracts.errors import (
    AlreadyCharged,
    CardDeclined,
    InsufficientCredits,
    InvalidRequest,
    PaymentNotFound,
    PaymentVoided,
)
from solo60.payment.v1.payment_pb2 import (
    PAYMENT_STATUS_CAPTURED,
    PAYMENT_STATUS_DECLINED,
    ChargeSessionRequest,
    GetPaymentRequest,
    ListSessionPaymentsRequest,
    PaymentMethod,
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
    from solo60.payment.v1.payment_pb2_grpc import PaymentServiceAsyncStub
    from tests.support.serving import MeshForTests


@pytest.mark.requirement("J1")
async def test_a_card_is_charged_the_price_in_money(payments: PaymentServiceAsyncStub, mesh: MeshForTests) -> None:
    """A charge to a card captures the payment, takes the money from the card and posts it to the ledger."""
    request = charge(BY_CARD)

    payment = (await payments.ChargeSession(request)).payment

    assert payment.status == PAYMENT_STATUS_CAPTURED
    assert (payment.session_id, payment.user_id) == (request.session_id, request.user_id)
    assert payment.money == request.price
    assert not payment.HasField("refund")
    database = mesh.database("payment")
    assert await net_card_charges(database) == PENCE
    assert await company_account_sum(database, "income", "GBP") == PENCE
    assert await company_account_sum(database, "cards", "GBP") == -PENCE


@pytest.mark.requirement("J1")
async def test_credits_are_taken_from_the_member(payments: PaymentServiceAsyncStub, mesh: MeshForTests) -> None:
    """A charge in credits reduces the member's balance and makes no card charge."""
    request = charge(BY_CREDITS)
    await grant(payments, request.user_id, 10)

    payment = (await payments.ChargeSession(request)).payment

    assert payment.status == PAYMENT_STATUS_CAPTURED
    assert payment.credits == CREDITS
    assert await balance(payments, request.user_id) == 10 - CREDITS
    assert await count(mesh.database("payment"), "card_charges") == 0


@pytest.mark.requirement("S6")
@pytest.mark.parametrize("method", [BY_CARD, BY_CREDITS], ids=["card", "credits"])
async def test_a_repeated_charge_answers_with_the_first_payment(
    payments: PaymentServiceAsyncStub, mesh: MeshForTests, method: PaymentMethod
) -> None:
    """Repeating a charge returns the first payment and takes nothing more; the session id is the idempotency key."""
    request = charge(method)
    await grant(payments, request.user_id, 10)

    first = await payments.ChargeSession(request)
    second = await payments.ChargeSession(request)

    assert second == first
    charged = 10 - await balance(payments, request.user_id), await net_card_charges(mesh.database("payment"))
    assert charged == ((0, PENCE) if method is BY_CARD else (CREDITS, 0))


@pytest.mark.parametrize("method", [BY_CARD, BY_CREDITS], ids=["card", "credits"])
async def test_fifty_concurrent_charges_of_one_session_charge_it_once(
    payments: PaymentServiceAsyncStub, mesh: MeshForTests, method: PaymentMethod
) -> None:
    """Fifty concurrent charges of one session charge it once and return the same payment."""
    request = charge(method)
    await grant(payments, request.user_id, 1000)

    answers = await asyncio.gather(*[payments.ChargeSession(request) for _ in range(50)])

    assert len({answer.payment.payment_id for answer in answers}) == 1
    charged = 1000 - await balance(payments, request.user_id), await net_card_charges(mesh.database("payment"))
    assert charged == ((0, PENCE) if method is BY_CARD else (CREDITS, 0))


async def test_concurrent_charges_do_not_spend_credits_twice(payments: PaymentServiceAsyncStub) -> None:
    """Of thirty concurrent charges against credits for ten, ten succeed, and the balance never falls below zero."""
    user_id = some_id()
    await grant(payments, user_id, 10 * CREDITS)

    requests = [charge(BY_CREDITS, user_id=user_id) for _ in range(30)]
    answers = await asyncio.gather(*map(payments.ChargeSession, requests), return_exceptions=True)

    assert Counter(type(answer).__name__ for answer in answers) == {
        "ChargeSessionResponse": 10,
        "InsufficientCredits": 20,
    }
    assert await balance(payments, user_id) == 0


def _dearer(request: ChargeSessionRequest) -> None:
    request.price.minor_units += 1


def _in_euro(request: ChargeSessionRequest) -> None:
    request.price.currency_code = "EUR"


def _more_credits(request: ChargeSessionRequest) -> None:
    request.credits += 1


def _other_member(request: ChargeSessionRequest) -> None:
    request.user_id = some_id()


def _other_method(request: ChargeSessionRequest) -> None:
    request.payment_method.CopyFrom(BY_CREDITS)


@pytest.mark.parametrize("change", [_dearer, _in_euro, _more_credits, _other_member, _other_method])
async def test_a_charged_session_takes_no_other_charge(payments: PaymentServiceAsyncStub, change: object) -> None:
    """A repetition with another member, price or method fails with ALREADY_CHARGED and changes nothing."""
    request = charge(BY_CARD)
    first = (await payments.ChargeSession(request)).payment
    other = ChargeSessionRequest.FromString(request.SerializeToString())
    assert callable(change)
    change(other)
    await grant(payments, other.user_id, 10)

    with pytest.raises(AlreadyCharged):
        await payments.ChargeSession(other)

    assert await balance(payments, other.user_id) == 10
    assert (await payments.GetPayment(GetPaymentRequest(payment_id=first.payment_id))).payment == first


async def test_a_decline_is_final_for_the_session(payments: PaymentServiceAsyncStub, mesh: MeshForTests) -> None:
    """After a declined card, every further charge of the session is declined and takes nothing."""
    request = charge(BY_DECLINED_CARD)
    await grant(payments, request.user_id, 10)

    for method in (BY_DECLINED_CARD, BY_CARD, BY_CREDITS):
        with pytest.raises(CardDeclined):
            await payments.ChargeSession(charge(method, request.session_id, request.user_id))

    listed = await payments.ListSessionPayments(ListSessionPaymentsRequest(session_id=request.session_id))
    assert [payment.status for payment in listed.payments] == [PAYMENT_STATUS_DECLINED]
    assert await balance(payments, request.user_id) == 10
    assert await net_card_charges(mesh.database("payment")) == 0


async def test_a_charge_with_too_few_credits_stores_nothing(
    payments: PaymentServiceAsyncStub, mesh: MeshForTests
) -> None:
    """INSUFFICIENT_CREDITS stores nothing, so that the same session can be charged again later."""
    request = charge(BY_CREDITS)
    await grant(payments, request.user_id, CREDITS - 1)

    with pytest.raises(InsufficientCredits):
        await payments.ChargeSession(request)

    assert await count(mesh.database("payment"), "sessions") == 0
    await grant(payments, request.user_id, 1)
    assert (await payments.ChargeSession(request)).payment.status == PAYMENT_STATUS_CAPTURED


async def test_a_member_without_credits_cannot_pay_with_credits(payments: PaymentServiceAsyncStub) -> None:
    """A member without a credit account gets INSUFFICIENT_CREDITS."""
    with pytest.raises(InsufficientCredits):
        await payments.ChargeSession(charge(BY_CREDITS))


@pytest.mark.parametrize("method", [BY_CARD, BY_CREDITS], ids=["card", "credits"])
async def test_a_refunded_session_is_not_charged_again(
    payments: PaymentServiceAsyncStub, method: PaymentMethod
) -> None:
    """Charging a session after a refund or a credit-back fails with PAYMENT_VOIDED."""
    refunded, credited = charge(method), charge(method)
    for request in (refunded, credited):
        await grant(payments, request.user_id, 10)
        await payments.ChargeSession(request)
    await payments.RefundSession(refund(refunded))
    await payments.CreditBackSession(credit_back(credited))

    for request in (refunded, credited):
        with pytest.raises(PaymentVoided):
            await payments.ChargeSession(request)


@pytest.mark.requirement("C3")
@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"session_id": "17"}, "session_id"),
        ({"user_id": ""}, "user_id"),
        ({"credits": 0}, "credits"),
        ({"price": {"currency_code": "GBP", "minor_units": 0}}, "price"),
        ({"price": {"currency_code": "pounds", "minor_units": 1}}, "price.currency_code"),
        ({"price": None}, "price"),
        ({"payment_method": None}, "payment_method"),
        ({"payment_method": {}}, "payment_method.method"),
        ({"payment_method": {"card": {"card_token": ""}}}, "payment_method.card.card_token"),
    ],
)
async def test_an_invalid_charge_names_its_field(
    payments: PaymentServiceAsyncStub, change: dict[str, object], field: str
) -> None:
    """An invalid charge is rejected with one violation, which names the bad field."""
    request = charge()
    for name, value in change.items():
        request.ClearField(name)  # type: ignore[arg-type]  # any of the fields
        request.MergeFrom(ChargeSessionRequest(**{name: value}))  # type: ignore[arg-type]  # any of the fields

    with pytest.raises(InvalidRequest) as refused:
        await payments.ChargeSession(request)

    assert [violation.field for violation in refused.value.violations] == [field]


async def test_a_payment_is_found_by_id_and_by_session(payments: PaymentServiceAsyncStub) -> None:
    """GetPayment and ListSessionPayments return the payment exactly as the charge did."""
    request = charge()
    payment = (await payments.ChargeSession(request)).payment

    found = await payments.GetPayment(GetPaymentRequest(payment_id=payment.payment_id))
    listed = await payments.ListSessionPayments(ListSessionPaymentsRequest(session_id=request.session_id))

    assert found.payment == payment
    assert list(listed.payments) == [payment]


async def test_an_unknown_payment_is_not_found(payments: PaymentServiceAsyncStub) -> None:
    """GetPayment fails for an unknown id, and the list of a session without a charge is empty."""
    with pytest.raises(PaymentNotFound):
        await payments.GetPayment(GetPaymentRequest(payment_id=some_id()))
    assert not (await payments.ListSessionPayments(ListSessionPaymentsRequest(session_id=some_id()))).payments


@pytest.mark.requirement("C3")
async def test_an_invalid_id_names_its_field(payments: PaymentServiceAsyncStub) -> None:
    """A read with an invalid id is rejected with a violation that names the field."""
    with pytest.raises(InvalidRequest) as refused:
        await payments.GetPayment(GetPaymentRequest(payment_id="17"))
    assert [violation.field for violation in refused.value.violations] == ["payment_id"]
    with pytest.raises(InvalidRequest) as refused:
        await payments.ListSessionPayments(ListSessionPaymentsRequest(session_id="17"))
    assert [violation.field for violation in refused.value.violations] == ["session_id"]
