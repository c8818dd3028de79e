from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from contracts.errors import InvalidRequest, MessageTooLarge, WebhookSignatureInvalid
from solo60.subscription.v1.subscription_pb2 import WEBHOOK_SCHEME_CARD_PROCESSOR
from solo60.subscription.v1.subscription_pb2_grpc import SubscriptionServiceStub
from tests.services.subscription.subscription_mesh import SERVICES, event, processor_webhook, webhook
from tests.services.subscription.test_webhooks import list_stored, midnight

if TYPE_CHECKING:
    from tests.services.subscription.subscription_mesh import SubscriptionMesh
    from tests.support.serving import Serve

LARGEST_PAYLOAD = 1_044_480
MINUTE = timedelta(minutes=1)


async def test_a_webhook_without_a_current_signature_is_rejected_and_not_stored(mesh: SubscriptionMesh) -> None:
    """A forged webhook, and one signed 6 minutes in the past or in the future, are rejected and not stored."""
    new = await mesh.subscribe()
    payload = event("ended", new, end_time=midnight(0))
    forged = webhook(payload)
    forged.payload += b" "

    for refused in (
        *[webhook(payload, age=age) for age in (6 * MINUTE, -6 * MINUTE)],
        *[processor_webhook(payload, age=age) for age in (6 * MINUTE, -6 * MINUTE)],
        forged,
    ):
        with pytest.raises(WebhookSignatureInvalid):
            await mesh.deliver(refused)

    assert await list_stored(mesh) == []


async def test_without_secrets_every_webhook_is_rejected(serve: Serve) -> None:
    """A service without configured secrets rejects every webhook."""
    mesh = await serve(SERVICES["subscription"])
    stub = mesh.stub(SubscriptionServiceStub)

    for refused in (webhook(b"{}"), processor_webhook(b"{}")):
        with pytest.raises(WebhookSignatureInvalid):
            await stub.ProcessWebhook(refused)


async def test_an_irrelevant_webhook_is_accepted(mesh: SubscriptionMesh) -> None:
    """An irrelevant webhook is accepted and ignored, because a rejected one would be delivered again."""
    assert await mesh.deliver(webhook(b'{"type": "contact.created"}')) == "IGNORED"
    assert await list_stored(mesh) == [(False, "ignored")]


async def test_a_webhook_may_be_almost_one_mebibyte(mesh: SubscriptionMesh) -> None:
    """A payload of 1 MiB less 4 KiB is accepted.

    One more byte is an invalid request, and 4 KiB more make the message too large.
    """
    padded = b'{"type": "contact.created", "data": "' + b"x" * (LARGEST_PAYLOAD - 39) + b'"}'

    assert len(padded) == LARGEST_PAYLOAD
    assert await mesh.deliver(webhook(padded)) == "IGNORED"
    with pytest.raises(InvalidRequest):
        await mesh.deliver(webhook(padded + b" "))
    with pytest.raises(MessageTooLarge):
        await mesh.deliver(webhook(padded + b" " * 4096))


@pytest.mark.requirement("C3")
async def test_a_missing_field_is_rejected(serve: Serve) -> None:
    """A webhook without a required field is rejected.

    Standard Webhooks requires id, timestamp, signature and payload. The card processor's scheme requires signature and
    payload alone, because its signature holds the timestamp and its payload the id.
    """
    stub = (await serve(SERVICES["subscription"])).stub(SubscriptionServiceStub)

    for missing in ("webhook_id", "timestamp", "signature", "payload"):
        request = webhook(b"{}")
        request.ClearField(missing)
        with pytest.raises(InvalidRequest):
            await stub.ProcessWebhook(request)
        request.scheme = WEBHOOK_SCHEME_CARD_PROCESSOR
        with pytest.raises(InvalidRequest if missing in {"signature", "payload"} else WebhookSignatureInvalid):
            await stub.ProcessWebhook(request)
