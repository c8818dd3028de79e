"""Session whose card payment is disputed, without a card processor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from pydantic import SecretStr

from services.payment.cards.intents import IntentStore
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from tests.services.payment.disputes.dispute_events import dispute
from tests.services.payment.requests import charge, refund
from tests.services.payment.webhook_requests import signed
from tests.support.webhook_signing import PROCESSOR_SECRET

if TYPE_CHECKING:
    from tests.support.serving import MeshForTests

# Settings of a payment service that accepts the webhooks below.
WEBHOOK_SETTINGS = {"card_processor_webhook_secrets": SecretStr(PROCESSOR_SECRET)}


@dataclass(frozen=True, slots=True)
class DisputedSession:
    """Session that was charged to a card. The member disputes the payment."""

    mesh: MeshForTests
    session_id: str
    intent_id: str

    @classmethod
    async def charged(cls, mesh: MeshForTests) -> DisputedSession:
        """Charge a session in test mode, report a dispute, and cancel the session."""
        request, intent_id = charge(), f"pi_{uuid4().hex}"
        payments = mesh.stub(PaymentServiceStub)
        await payments.ChargeSession(request)
        await IntentStore(mesh.database("payment")).claim(request.session_id, intent_id, mesh.clock.now())
        session = cls(mesh, request.session_id, intent_id)
        await session.report("needs_response")
        await payments.RefundSession(refund(request))
        return session

    async def report(self, status: str) -> None:
        """Deliver a webhook that reports the status of the dispute."""
        payload = dispute(self.intent_id, status, f"dp_{self.session_id}")
        await self.mesh.stub(PaymentServiceStub).ProcessWebhook(signed(payload, self.mesh.clock.now()))
