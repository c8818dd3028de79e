"""Fixtures: subscriptions with Stripe as the card processor, behind a proxy with faults, and its webhooks delivered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from local.mail_sink import MailSink
from solo60.subscription.v1.subscription_pb2 import CreateSubscriptionRequest, PaymentMethod, Subscription
from tests.services.subscription.subscription_mesh import SERVICES, SubscriptionMesh
from tests.support.eventually import eventually
from tests.support.ports import free_ports
from tests.support.stripe_proxy import StripeProxy
from tests.support.webhook_signing import PROCESSOR_SECRET, STANDARD_SECRET

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.serving import Serve
    from tests.support.stripe_server import StripeServer

GOOD, DECLINED, DECLINED_LATER = "4242424242424242", "4000000000000002", "4000000000000341"
EVENTS = (
    "invoice.payment_succeeded",
    "invoice.payment_failed",
    "customer.subscription.created",
    "customer.subscription.deleted",
)


@pytest.fixture
async def proxy(stripe_server: StripeServer) -> AsyncIterator[StripeProxy]:
    """Run a proxy between the subscription service and its card processor."""
    async with StripeProxy(stripe_server.port) as proxy:
        yield proxy


@pytest.fixture
async def stripe_mesh(
    serve: Serve, stripe_server: StripeServer, proxy: StripeProxy, tmp_path: Path
) -> AsyncIterator[SubscriptionMesh]:
    """Serve everything that a subscription needs, with Stripe behind the proxy, and without webhooks from Stripe."""
    folder = tmp_path / "inbox"
    async with MailSink(folder, port=0) as mail_sink:
        services = await serve(
            *SERVICES.values(),
            smtp_url=SecretStr(mail_sink.url),
            http_address=f"127.0.0.1:{free_ports(1)[0]}",
            http_service="subscription",
            webhook_secrets=SecretStr(STANDARD_SECRET),
            card_processor_webhook_secrets=SecretStr(PROCESSOR_SECRET),
            **stripe_server.settings(proxy.port),
        )
        yield SubscriptionMesh(services, folder, "pm_card_visa")
        await services.close()


def request_of(user_id: str, card_token: str, plan_id: str) -> CreateSubscriptionRequest:
    """Return a request to subscribe a user with a card of Stripe."""
    method = PaymentMethod(card_token=card_token)
    return CreateSubscriptionRequest(user_id=user_id, plan_id=plan_id, payment_method=method)


async def subscribe(mesh: SubscriptionMesh, card_token: str, plan_id: str) -> Subscription:
    """Subscribe a new member with a card of Stripe."""
    request = request_of(await mesh.create_member(), card_token, plan_id)
    return (await mesh.subscriptions.CreateSubscription(request)).subscription


def at_stripe(server: StripeServer) -> list[dict[str, Any]]:
    """Return all subscriptions at Stripe, also those that have ended."""
    return server.objects("subscriptions", status="all")


def paid(server: StripeServer) -> list[int]:
    """Return the amounts of all successful charges at Stripe."""
    return [charge["amount"] for charge in server.objects("charges") if charge["status"] == "succeeded"]


async def wait_for_status(mesh: SubscriptionMesh, subscription: Subscription, status: str) -> None:
    """Wait until a subscription has this status."""

    async def has_status() -> bool:
        return await mesh.status(subscription) == status

    await eventually(has_status)
