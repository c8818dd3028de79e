"""HTTP endpoint for webhooks, over a real socket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest
from pydantic import SecretStr

from mesh.serving.http_requests import MAX_BODY_BYTES
from services.subscription.app import SERVICE
from tests.services.subscription.invoices import processor_event
from tests.services.subscription.subscription_mesh import event, month_after, processor_webhook, webhook
from tests.support.ports import free_ports
from tests.support.webhook_signing import PROCESSOR_SECRET, STANDARD_SECRET

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from solo60.subscription.v1.subscription_pb2 import ProcessWebhookRequest
    from tests.services.subscription.subscription_mesh import SubscriptionMesh
    from tests.support.serving import Serve

UNKNOWN_ID = "0198c1a2-0000-7000-8000-00000000dead"


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """Return an HTTP client that ignores the proxy of the environment."""
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        yield client


def headers_of(request: ProcessWebhookRequest) -> dict[str, str]:
    """Return the headers with which a sender delivers a webhook."""
    if not request.webhook_id:
        return {"Stripe-Signature": request.signature}
    return {
        "webhook-id": request.webhook_id,
        "webhook-timestamp": request.timestamp,
        "webhook-signature": request.signature,
    }


async def post(client: httpx.AsyncClient, url: str, request: ProcessWebhookRequest) -> httpx.Response:
    """Deliver a webhook as its sender does."""
    path = "/webhooks/standard" if request.webhook_id else "/webhooks/stripe"
    return await client.post(url + path, content=request.payload, headers=headers_of(request))


async def test_a_webhook_takes_effect(mesh: SubscriptionMesh, client: httpx.AsyncClient) -> None:
    """A webhook in either scheme takes effect, and an unsupported event is accepted."""
    new = await mesh.subscribe()
    paid = webhook(event("renewed", new, period=month_after(new)))
    unsupported = processor_webhook(processor_event("charge.succeeded", {"object": "charge"}))

    answers = [await post(client, mesh.http_url, each) for each in (paid, paid, unsupported)]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert await mesh.balance(new.user_id) == 80


async def test_a_rejected_webhook_gets_its_status(mesh: SubscriptionMesh, client: httpx.AsyncClient) -> None:
    """The response to a rejected webhook tells its sender whether to deliver it again."""
    wrong = webhook(event("renewed", UNKNOWN_ID))
    wrong.signature = "v1,AAAA"
    large = processor_webhook(b"x" * (MAX_BODY_BYTES + 1))
    early = webhook(event("trial_ending", UNKNOWN_ID))
    url, not_ascii = f"{mesh.http_url}/webhooks/stripe", [(b"stripe-signature", b"t=1,v1=\xff")]
    unsigned = [await client.post(url, content=b"{}", headers=headers) for headers in ([], not_ascii)]

    answers = [*unsigned, *[await post(client, mesh.http_url, each) for each in (wrong, large, early)]]

    assert [(answer.status_code, answer.json()["reason"]) for answer in answers] == [
        (400, "INVALID_REQUEST"),
        (400, "WEBHOOK_SIGNATURE_INVALID"),
        (400, "WEBHOOK_SIGNATURE_INVALID"),
        (413, "MESSAGE_TOO_LARGE"),
        (404, "SUBSCRIPTION_NOT_FOUND"),
    ]
    assert (await client.get(url)).status_code == 405


async def test_an_unavailable_service_is_reported(serve: Serve, client: httpx.AsyncClient) -> None:
    """While the database is unavailable, a webhook is answered with 503, so that it is delivered again."""
    [port] = free_ports(1)
    services = await serve(
        SERVICE,
        http_address=f"127.0.0.1:{port}",
        webhook_secrets=SecretStr(STANDARD_SECRET),
        card_processor_webhook_secrets=SecretStr(PROCESSOR_SECRET),
        database_connections=1,
        deadline_factor=0.1,
    )
    async with services.database("subscription").connection() as connection:
        await connection.execute("begin; lock table webhooks in access exclusive mode")
        answer = await post(client, f"http://127.0.0.1:{port}", webhook(event("trial_ending", UNKNOWN_ID)))
        await connection.execute("rollback")

    assert answer.status_code in (503, 504)


async def test_many_deliveries_of_one_webhook_take_effect_once(
    mesh: SubscriptionMesh, client: httpx.AsyncClient
) -> None:
    """Twenty deliveries of one webhook at the same time are all accepted and grant the credits once."""
    new = await mesh.subscribe()
    paid = webhook(event("renewed", new, period=month_after(new)))

    answers = await asyncio.gather(*[post(client, mesh.http_url, paid) for _ in range(20)])

    assert {answer.status_code for answer in answers} == {200}
    assert await mesh.balance(new.user_id) == 80
