from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from contracts.errors import CardDeclined, PaymentVoided, Unavailable
from mesh import card_processor
from mesh.card_processor import KEY_TROUBLE
from services.payment.app import SERVICE
from solo60.payment.v1.payment_pb2 import (
    PAYMENT_STATUS_CAPTURED,
    PAYMENT_STATUS_DECLINED,
    PAYMENT_STATUS_PENDING,
    REFUND_OUTCOME_REFUNDED,
    REFUND_OUTCOME_VOIDED,
    ListSessionPaymentsRequest,
)
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from tests.services.payment.ledger_queries import company_account_sum
from tests.services.payment.requests import BY_CARD, PENCE, charge, refund
from tests.services.payment.stripe_mesh import DECLINED, by_stripe, captured, mesh, proxy, refunded
from tests.support.health import troubles_of
from tests.support.http_answers import HttpAnswers
from tests.support.ports import free_ports
from tests.support.stripe_proxy import Fault

if TYPE_CHECKING:
    from solo60.payment.v1.payment_pb2 import ChargeSessionRequest, Payment
    from solo60.payment.v1.payment_pb2_grpc import PaymentServiceAsyncStub
    from tests.support.serving import MeshForTests, Serve
    from tests.support.stripe_proxy import StripeProxy
    from tests.support.stripe_server import StripeServer

__all__ = ["mesh", "proxy"]

CREATE, CONFIRM = ("POST /v1/payment_intents", "/payment_intents"), ("POST /v1/payment_intents/", "/confirm")
EVERY_FAULT = pytest.mark.parametrize("fault", [Fault.LOSE_REQUEST, Fault.LOSE_ANSWER, Fault.FAIL])


async def stored(payments: PaymentServiceAsyncStub, request: ChargeSessionRequest) -> Payment:
    """Return the one payment of a session as stored now."""
    answer = await payments.ListSessionPayments(ListSessionPaymentsRequest(session_id=request.session_id))
    return answer.payments[0]


async def test_a_card_is_charged_once(
    payments: PaymentServiceAsyncStub, mesh: MeshForTests, stripe_server: StripeServer
) -> None:
    """A charge and its repetition, even with another card, take the price from the first card once."""
    request = charge(by_stripe())

    first = await payments.ChargeSession(request)
    request.payment_method.CopyFrom(by_stripe("pm_card_mastercard"))
    second = await payments.ChargeSession(request)

    assert first == second
    assert first.payment.status == PAYMENT_STATUS_CAPTURED
    assert captured(stripe_server) == [PENCE]
    assert await company_account_sum(mesh.database("payment"), "cards", "GBP") == -PENCE


@pytest.mark.parametrize("card", ["pm_card_chargeCustomerFail", "pm_unknown"], ids=["by the bank", "unknown"])
async def test_a_declined_card_is_final(
    payments: PaymentServiceAsyncStub, stripe_server: StripeServer, card: str
) -> None:
    """A card that its bank declines, or that Stripe does not know, is CARD_DECLINED, also at a repetition."""
    request = charge(by_stripe(card))
    for _ in range(2):
        with pytest.raises(CardDeclined):
            await payments.ChargeSession(request)

    assert (await stored(payments, request)).status == PAYMENT_STATUS_DECLINED
    assert captured(stripe_server) == []


async def test_a_card_that_demands_the_presence_of_the_member_is_declined(
    payments: PaymentServiceAsyncStub, stripe_server: StripeServer
) -> None:
    """A card whose bank demands a confirmation by the member is CARD_DECLINED, and takes no money."""
    card = stripe_server.add_card("4000002500003155")

    with pytest.raises(CardDeclined):
        await payments.ChargeSession(charge(by_stripe(card)))

    assert captured(stripe_server) == []


@EVERY_FAULT
@pytest.mark.parametrize("step", [CREATE, CONFIRM], ids=["create", "confirm"])
async def test_an_unknown_outcome_is_resolved_without_a_second_charge(
    payments: PaymentServiceAsyncStub,
    proxy: StripeProxy,
    stripe_server: StripeServer,
    step: tuple[str, str],
    fault: Fault,
) -> None:
    """After a lost request, a lost answer or a failure in each step, a repetition captures the payment once."""
    request = charge(by_stripe())
    proxy.add_fault(*step, fault)

    with suppress(Unavailable):
        await payments.ChargeSession(request)
    payment = (await payments.ChargeSession(request)).payment

    assert proxy.open_faults == 0
    assert payment.status == PAYMENT_STATUS_CAPTURED
    assert captured(stripe_server) == [PENCE]


@EVERY_FAULT
async def test_a_declined_card_is_declined_after_a_lost_answer(
    payments: PaymentServiceAsyncStub, proxy: StripeProxy, stripe_server: StripeServer, fault: Fault
) -> None:
    """After a fault in the confirmation of a declined card, a repetition is CARD_DECLINED."""
    request = charge(DECLINED)
    proxy.add_fault(*CONFIRM, fault)

    with suppress(Unavailable, CardDeclined):
        await payments.ChargeSession(request)
    with pytest.raises(CardDeclined):
        await payments.ChargeSession(request)

    assert captured(stripe_server) == []


async def test_a_repetition_sends_the_same_idempotency_keys(
    payments: PaymentServiceAsyncStub, proxy: StripeProxy
) -> None:
    """A repeated step has the key of the first one, and the key names the session."""
    request = charge(by_stripe())
    proxy.add_fault(*CREATE, Fault.LOSE_ANSWER)
    proxy.add_fault(*CONFIRM, Fault.LOSE_REQUEST)
    for _ in range(2):
        with suppress(Unavailable):
            await payments.ChargeSession(request)

    posts = [each for each in proxy.requests if each.first_line.startswith("POST")]
    creates = [each.headers["idempotency-key"] for each in posts if "/confirm" not in each.first_line]
    confirms = [each.headers["idempotency-key"] for each in posts if "/confirm" in each.first_line]
    assert len(creates) == len(confirms) == 2
    assert len(set(creates)) == len(set(confirms)) == 1
    assert all(key.startswith(request.session_id) for key in creates + confirms)


async def test_concurrent_charges_of_one_session_charge_once(
    payments: PaymentServiceAsyncStub, stripe_server: StripeServer
) -> None:
    """Twenty concurrent charges of one session take the price once."""
    request = charge(by_stripe())

    answers = await asyncio.gather(*[payments.ChargeSession(request) for _ in range(20)])

    assert {answer.payment.status for answer in answers} == {PAYMENT_STATUS_CAPTURED}
    assert captured(stripe_server) == [PENCE]


async def test_concurrent_charges_and_refunds_take_nothing(
    payments: PaymentServiceAsyncStub, stripe_server: StripeServer
) -> None:
    """After each of ten races of a charge with a refund, Stripe has refunded all that it has captured."""

    async def race() -> None:
        request = charge(by_stripe())
        answers = await asyncio.gather(
            payments.ChargeSession(request), payments.RefundSession(refund(request)), return_exceptions=True
        )
        assert {type(answer) for answer in answers if isinstance(answer, Exception)} <= {PaymentVoided}

    await asyncio.gather(*[race() for _ in range(10)])

    assert sum(captured(stripe_server)) == sum(refunded(stripe_server))


async def test_a_silent_card_processor_leaves_the_payment_pending(
    payments: PaymentServiceAsyncStub, proxy: StripeProxy, stripe_server: StripeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A card processor that does not answer is UNAVAILABLE; the payment is pending, and a refund returns the money."""
    monkeypatch.setattr(card_processor, "MAX_WAIT_S", 0.3)
    request = charge(by_stripe())
    for _ in range(10):
        proxy.add_fault(*CONFIRM, Fault.HANG)
        proxy.add_fault("GET /v1/payment_intents/", "", Fault.HANG)
    with pytest.raises(Unavailable):
        await payments.ChargeSession(request)
    assert (await stored(payments, request)).status == PAYMENT_STATUS_PENDING
    monkeypatch.undo()
    proxy.clear_faults()

    answer = await payments.RefundSession(refund(request))

    assert answer.outcome == REFUND_OUTCOME_REFUNDED
    assert (captured(stripe_server), refunded(stripe_server)) == ([PENCE], [PENCE])


async def test_a_card_processor_that_is_down_takes_nothing(serve: Serve, stripe_server: StripeServer) -> None:
    """A charge while the card processor is down is UNAVAILABLE, and a refund voids it without the card processor."""
    (port,) = free_ports(1)
    payments = (await serve(SERVICE, **stripe_server.settings(port))).stub(PaymentServiceStub)
    request = charge(by_stripe())
    with pytest.raises(Unavailable):
        await payments.ChargeSession(request)

    assert (await payments.RefundSession(refund(request))).outcome == REFUND_OUTCOME_VOIDED
    with pytest.raises(PaymentVoided):
        await payments.ChargeSession(request)


async def test_an_intent_of_another_account_is_not_declined(
    payments: PaymentServiceAsyncStub, mesh: MeshForTests
) -> None:
    """A stored intent that Stripe does not know leaves the payment pending, because it may have taken money."""
    request = charge(by_stripe())
    async with mesh.database("payment").connection() as connection:
        await connection.execute("insert into card_intents values ($1, 'pi_unknown', now())", request.session_id)

    with pytest.raises(Unavailable):
        await payments.ChargeSession(request)

    assert (await stored(payments, request)).status == PAYMENT_STATUS_PENDING


async def test_a_wrong_key_is_a_trouble_in_the_health_of_payment(serve: Serve) -> None:
    """With a wrong STRIPE_API_KEY a charge is UNAVAILABLE, and the health of payment lists the trouble."""
    async with HttpAnswers() as server:
        server.status = 401
        mesh = await serve(SERVICE, **server.stripe_settings("sk_test_hunter2"))
        with pytest.raises(Unavailable):
            await mesh.stub(PaymentServiceStub).ChargeSession(charge(by_stripe()))

        assert await troubles_of(mesh, "payment") == [KEY_TROUBLE]


async def test_a_token_of_a_card_is_sent_as_a_new_payment_method(serve: Serve) -> None:
    """A card token "tok_..." is sent as the data of a new payment method, as Stripe demands."""
    async with HttpAnswers() as server:
        server.status = 500
        mesh = await serve(SERVICE, **server.stripe_settings())
        with pytest.raises(Unavailable):
            await mesh.stub(PaymentServiceStub).ChargeSession(charge(BY_CARD))

        parts = server.requests[0].body.split("&")
        assert "payment_method_data[type]=card" in parts
        assert "payment_method_data[card][token]=tok_visa" in parts
        assert not any(part.startswith("payment_method=") for part in parts)


async def test_the_card_is_neither_stored_nor_logged(payments: PaymentServiceAsyncStub, mesh: MeshForTests) -> None:
    """After a captured and a rejected charge, no table and no log line of payment contains a card."""
    with capture_logs() as logs:
        await payments.ChargeSession(charge(by_stripe()))
        with pytest.raises(CardDeclined):
            await payments.ChargeSession(charge(by_stripe("pm_unknown_hunter2")))

    async with mesh.database("payment").connection() as connection:
        tables = await connection.fetch("select tablename from pg_tables where schemaname = 'public'")
        queries = [f"select t::text from {table[0]} as t" for table in tables]  # noqa: S608 - a name from the catalog
        texts = [row[0] for query in queries for row in await connection.fetch(query)]
    assert any("pi_" in text for text in texts)
    assert [text for text in texts if "pm_" in text] == []
    assert "pm_" not in repr(logs)
