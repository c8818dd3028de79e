"""Fixtures: the payment service with Stripe as its card processor, behind a proxy with faults."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from services.payment.app import SERVICE
from solo60.payment.v1.payment_pb2 import CardMethod, PaymentMethod
from tests.support.stripe_proxy import StripeProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.serving import MeshForTests, Serve
    from tests.support.stripe_server import StripeServer


def by_stripe(card_token: str = "pm_card_visa") -> PaymentMethod:  # noqa: S107 - a test card
    """Return a payment method with a card of Stripe, by default a good one."""
    return PaymentMethod(card=CardMethod(card_token=card_token))


DECLINED = by_stripe("pm_card_chargeCustomerFail")


@pytest.fixture
async def proxy(stripe_server: StripeServer) -> AsyncIterator[StripeProxy]:
    """Run a proxy between the payment service and its card processor."""
    async with StripeProxy(stripe_server.port) as proxy:
        yield proxy


@pytest.fixture
async def mesh(serve: Serve, stripe_server: StripeServer, proxy: StripeProxy) -> MeshForTests:
    """Serve payment with Stripe behind the proxy."""
    return await serve(SERVICE, **stripe_server.settings(proxy.port))


def captured(server: StripeServer) -> list[int]:
    """Return the amounts of all successful charges at Stripe."""
    return [charge["amount"] for charge in server.objects("charges") if charge["status"] == "succeeded"]


def refunded(server: StripeServer) -> list[int]:
    """Return the amounts of all refunds at Stripe."""
    return [refund["amount"] for refund in server.objects("refunds")]
