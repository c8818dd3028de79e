from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from contracts.errors import RefundRejected, Unavailable
from services.payment.app import SERVICE
from solo60.payment.v1.payment_pb2 import (
    PAYMENT_STATUS_CAPTURED,
    PAYMENT_STATUS_REFUNDED,
    REFUND_OUTCOME_REFUNDED,
    REFUND_OUTCOME_VOIDED,
)
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from tests.services.payment.ledger_queries import company_account_sum
from tests.services.payment.requests import BY_CARD, PENCE, balance, charge, credit_back, refund, refund_part
from tests.services.payment.stripe_mesh import by_stripe, captured, mesh, proxy, refunded
from tests.support.stripe_proxy import Fault

if TYPE_CHECKING:
    from solo60.payment.v1.payment_pb2 import ChargeSessionRequest
    from solo60.payment.v1.payment_pb2_grpc import PaymentServiceAsyncStub
    from tests.support.serving import MeshForTests, Serve
    from tests.support.stripe_proxy import StripeProxy
    from tests.support.stripe_server import StripeServer

__all__ = ["mesh", "proxy"]

REFUND = ("POST /v1/refunds", "/refunds")
EVERY_FAULT = pytest.mark.parametrize("fault", [Fault.LOSE_REQUEST, Fault.LOSE_ANSWER, Fault.FAIL])


@pytest.fixture
async def request_(payments: PaymentServiceAsyncStub) -> ChargeSessionRequest:
    """Charge a card of Stripe, and return the request."""
    request = charge(by_stripe())
    await payments.ChargeSession(request)
    return request


@EVERY_FAULT
async def test_a_refund_with_an_unknown_outcome_is_made_once(
    payments: PaymentServiceAsyncStub,
    request_: ChargeSessionRequest,
    proxy: StripeProxy,
    stripe_server: StripeServer,
    fault: Fault,
) -> None:
    """After a lost request, a lost answer or a failure, a repeated refund has returned the price once."""
    proxy.add_fault(*REFUND, fault)

    with suppress(Unavailable):
        await payments.RefundSession(refund(request_))
    answer = await payments.RefundSession(refund(request_))

    assert proxy.open_faults == 0
    assert answer.payment.status == PAYMENT_STATUS_REFUNDED
    assert refunded(stripe_server) == [PENCE]


@EVERY_FAULT
async def test_a_partial_refund_with_an_unknown_outcome_is_made_once(
    payments: PaymentServiceAsyncStub,
    request_: ChargeSessionRequest,
    proxy: StripeProxy,
    stripe_server: StripeServer,
    fault: Fault,
) -> None:
    """After a fault, a repeated partial refund has returned its part once, with one idempotency key."""
    part = refund_part(request_, 250)
    proxy.add_fault(*REFUND, fault)

    with suppress(Unavailable):
        await payments.RefundSession(part)
    answer = await payments.RefundSession(part)

    assert proxy.open_faults == 0
    assert answer.payment.status == PAYMENT_STATUS_CAPTURED
    assert refunded(stripe_server) == [250]
    posts = [each for each in proxy.requests if each.first_line.startswith("POST /v1/refunds")]
    assert {each.headers["idempotency-key"] for each in posts} == {f"{request_.session_id}/refund/{part.refund_id}"}


@EVERY_FAULT
async def test_a_whole_refund_finishes_an_interrupted_part(
    payments: PaymentServiceAsyncStub,
    mesh: MeshForTests,
    request_: ChargeSessionRequest,
    proxy: StripeProxy,
    stripe_server: StripeServer,
    fault: Fault,
) -> None:
    """A refund of the session after a partial refund with an unknown outcome returns the price exactly."""
    for _ in range(3):  # the gRPC client repeats the call twice
        proxy.add_fault(*REFUND, fault)
    with suppress(Unavailable):
        await payments.RefundSession(refund_part(request_, 250))
    proxy.clear_faults()

    answer = await payments.RefundSession(refund(request_))

    assert answer.outcome == REFUND_OUTCOME_REFUNDED
    assert sorted(refunded(stripe_server)) == [250, PENCE - 250]
    assert await company_account_sum(mesh.database("payment"), "income", "GBP") == 0


async def test_a_credit_back_finishes_an_interrupted_refund_of_all(
    payments: PaymentServiceAsyncStub, request_: ChargeSessionRequest, proxy: StripeProxy, stripe_server: StripeServer
) -> None:
    """A credit-back while the whole price is in a partial refund with an unknown outcome gives no credits as well."""
    for _ in range(3):  # the gRPC client repeats the call twice
        proxy.add_fault(*REFUND, Fault.LOSE_REQUEST)
    with pytest.raises(Unavailable):
        await payments.RefundSession(refund_part(request_, PENCE))

    answer = await payments.CreditBackSession(credit_back(request_))

    assert [each.money.minor_units for each in answer.payment.refunds] == [PENCE]
    assert refunded(stripe_server) == [PENCE]
    assert await balance(payments, request_.user_id) == 0


async def test_several_parts_and_the_rest_return_the_price(
    payments: PaymentServiceAsyncStub, request_: ChargeSessionRequest, stripe_server: StripeServer
) -> None:
    """Concurrent parts with different ids are separate refunds, and a refund of the session returns the rest."""
    await asyncio.gather(*[payments.RefundSession(refund_part(request_, 250)) for _ in range(3)])

    await payments.RefundSession(refund(request_))

    assert sorted(refunded(stripe_server)) == [250, 250, 250, PENCE - 750]
    assert captured(stripe_server) == [PENCE]


async def test_a_rejected_part_is_not_refunded(
    payments: PaymentServiceAsyncStub, request_: ChargeSessionRequest, proxy: StripeProxy, stripe_server: StripeServer
) -> None:
    """A part that Stripe rejects is REFUND_REJECTED, also at a repetition, and does not reduce the rest."""
    part = refund_part(request_, 250)
    proxy.add_fault(*REFUND, Fault.REJECT)
    for _ in range(2):
        with pytest.raises(RefundRejected):
            await payments.RefundSession(part)

    answer = await payments.RefundSession(refund_part(request_, PENCE))

    assert answer.payment.status == PAYMENT_STATUS_REFUNDED
    assert [each.money.minor_units for each in answer.payment.refunds] == [PENCE]
    assert refunded(stripe_server) == [PENCE]


async def test_a_rejected_whole_refund_is_repeated(
    payments: PaymentServiceAsyncStub, request_: ChargeSessionRequest, proxy: StripeProxy, stripe_server: StripeServer
) -> None:
    """A refund of a session that Stripe rejects for now is UNAVAILABLE, and a repetition makes it."""
    for _ in range(3):
        proxy.add_fault(*REFUND, Fault.REJECT)
    with pytest.raises(Unavailable):
        await payments.RefundSession(refund(request_))

    assert (await payments.RefundSession(refund(request_))).outcome == REFUND_OUTCOME_REFUNDED
    assert refunded(stripe_server) == [PENCE]


async def test_a_refund_of_an_unknown_charge_asks_nobody(payments: PaymentServiceAsyncStub, proxy: StripeProxy) -> None:
    """A refund of a session that was never charged voids it without a request to Stripe."""
    assert (await payments.RefundSession(refund(charge()))).outcome == REFUND_OUTCOME_VOIDED
    assert proxy.requests == []


async def test_a_payment_of_test_mode_is_refunded_without_stripe(
    serve: Serve, payment_url: str, stripe_server: StripeServer
) -> None:
    """A payment from before STRIPE_API_KEY was set is refunded, in part and as a whole, without a refund at Stripe."""
    mesh = await serve()
    await mesh.start(SERVICE, payment_url)
    request, payments = charge(BY_CARD), mesh.stub(PaymentServiceStub)
    await payments.ChargeSession(request)
    await mesh.stop("payment")
    mesh.settings = mesh.settings.model_copy(update=stripe_server.settings())
    await mesh.start(SERVICE, payment_url)
    await mesh.wait_until_connected("payment")

    await payments.RefundSession(refund_part(request, 250))
    answer = await payments.RefundSession(refund(request))

    assert answer.payment.status == PAYMENT_STATUS_REFUNDED
    assert refunded(stripe_server) == []
