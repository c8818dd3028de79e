from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from contracts.errors import InvalidRequest, WebhookSignatureInvalid
from services.payment.app import SERVICE
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from tests.services.payment.charged import Charged, charged, mesh
from tests.services.payment.disputes.dispute_events import dispute
from tests.services.payment.ledger_queries import count
from tests.services.payment.webhook_requests import event, signed

if TYPE_CHECKING:
    from tests.support.serving import Serve

__all__ = ["charged", "mesh"]


async def test_a_wrong_signature_is_rejected(charged: Charged) -> None:
    """A webhook with a wrong signature, an old time or a changed payload is rejected and changes nothing."""
    now = charged.mesh.clock.now()
    payload = dispute(charged.intent_id, "needs_response")
    changed, old = signed(payload, now), signed(payload, now.replace(year=now.year - 1))
    changed.payload += b" "
    foreign = signed(payload, now)
    foreign.signature = foreign.signature[:-4] + "0000"

    for bad in (changed, old, foreign):
        with pytest.raises(WebhookSignatureInvalid):
            await charged.payments.ProcessWebhook(bad)

    assert await count(charged.database, "disputes") == 0


async def test_without_a_secret_every_webhook_is_rejected(serve: Serve) -> None:
    """Without CARD_PROCESSOR_WEBHOOK_SECRETS every webhook is rejected."""
    mesh = await serve(SERVICE)

    with pytest.raises(WebhookSignatureInvalid):
        await mesh.stub(PaymentServiceStub).ProcessWebhook(signed(dispute("pi_1", "won"), mesh.clock.now()))


async def test_other_events_change_nothing(charged: Charged) -> None:
    """Events about other objects are accepted and change nothing."""
    payload = event("charge.succeeded", {"object": "charge", "id": "ch_1"})

    answer = await charged.deliver(payload)

    assert (answer.is_dispute, answer.is_failed_refund) == (False, False)
    assert await count(charged.database, "disputes") == 0
    assert await count(charged.database, "failed_refunds") == 0


async def test_an_unreadable_webhook_is_rejected(charged: Charged) -> None:
    """A webhook with a valid signature that is no JSON is rejected."""
    with pytest.raises(InvalidRequest):
        await charged.deliver(b"no JSON")
