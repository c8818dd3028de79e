"""Fixtures: the payment service with Stripe and a webhook secret, and a session that was charged at Stripe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import pytest
from pydantic import SecretStr

from services.payment.app import SERVICE
from solo60.communication.v1.communication_pb2 import SendSystemNotificationRequest
from solo60.payment.v1.payment_pb2 import ListSessionPaymentsRequest
from tests.services.payment.requests import charge, refund
from tests.services.payment.stripe_mesh import by_stripe
from tests.services.payment.webhook_requests import signed
from tests.support.webhook_signing import PROCESSOR_SECRET

if TYPE_CHECKING:
    from mesh.data.database import Database
    from solo60.payment.v1.payment_pb2 import ChargeSessionRequest, Payment, ProcessWebhookResponse
    from solo60.payment.v1.payment_pb2_grpc import PaymentServiceAsyncStub
    from tests.support.serving import MeshForTests, Serve
    from tests.support.stripe_server import StripeServer


SECRET = SecretStr(PROCESSOR_SECRET)


@pytest.fixture
async def mesh(serve: Serve, stripe_server: StripeServer) -> MeshForTests:
    """Serve payment with Stripe and a webhook secret."""
    return await serve(SERVICE, **stripe_server.settings(), card_processor_webhook_secrets=SECRET)


@dataclass(frozen=True, slots=True)
class Charged:
    """Session that was charged at Stripe."""

    mesh: MeshForTests
    payments: PaymentServiceAsyncStub
    request: ChargeSessionRequest
    intent_id: str

    @classmethod
    async def at(cls, stripe_server: StripeServer, mesh: MeshForTests, payments: PaymentServiceAsyncStub) -> Self:
        """Charge a session."""
        request = charge(by_stripe())
        await payments.ChargeSession(request)
        intent = next(
            each
            for each in stripe_server.objects("payment_intents")
            if each["metadata"]["solo60_session_id"] == request.session_id
        )
        return cls(mesh, payments, request, intent["id"])

    @property
    def database(self) -> Database:
        """Database of the payment service."""
        return self.mesh.database("payment")

    async def deliver(self, payload: bytes) -> ProcessWebhookResponse:
        """Deliver a webhook, signed now."""
        return await self.payments.ProcessWebhook(signed(payload, self.mesh.clock.now()))

    async def payment(self) -> Payment:
        """Return the payment as stored now."""
        listed = await self.payments.ListSessionPayments(ListSessionPaymentsRequest(session_id=self.request.session_id))
        return listed.payments[0]

    async def notifications(self) -> list[SendSystemNotificationRequest]:
        """Return all notifications in the outbox, in order."""
        async with self.database.connection() as connection:
            rows = await connection.fetch(
                "select payload from outbox where destination ~ 'SendSystemNotification' order by sequence"
            )
        return [SendSystemNotificationRequest.FromString(row["payload"]) for row in rows]


@pytest.fixture
async def charged(mesh: MeshForTests, payments: PaymentServiceAsyncStub, stripe_server: StripeServer) -> Charged:
    """Charge a session at Stripe."""
    return await Charged.at(stripe_server, mesh, payments)


@pytest.fixture
async def refunded_session(charged: Charged) -> Charged:
    """Charge a session at Stripe and refund it."""
    await charged.payments.RefundSession(refund(charged.request))
    return charged
