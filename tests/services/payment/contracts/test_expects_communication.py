from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from contracts.errors import ServiceError, TemplateNotFound, TemplateVariableMissing
from services.payment.app import SERVICE
from solo60.communication.v1.communication_pb2 import (
    AUDIENCE_OPERATORS,
    SendSystemNotificationRequest,
    SendSystemNotificationResponse,
)
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from tests.services.payment.contracts.disputed_session import WEBHOOK_SETTINGS
from tests.services.payment.disputes.dispute_events import dispute
from tests.services.payment.failed_refunds.refund_events import refund_event
from tests.services.payment.webhook_requests import signed
from tests.support.settled_messages import DELIVERED, settled

if TYPE_CHECKING:
    from tests.support.consumers import Consume
    from tests.support.serving import MeshForTests

# Template and webhook of each notification.
NOTIFICATIONS = [
    ("PAYMENT_DISPUTED", dispute("pi_1", "needs_response")),
    ("REFUND_FAILED", refund_event("pi_1")),
]


@pytest.mark.parametrize(("template_key", "payload"), NOTIFICATIONS, ids=["dispute", "failed refund"])
async def test_operators_are_notified_of_a_report_about_a_card_payment(
    consume: Consume, template_key: str, payload: bytes
) -> None:
    """ProcessWebhook notifies the operators through the outbox, with the variables that the template needs."""
    mesh, expectations = await consume(SERVICE, **WEBHOOK_SETTINGS)
    templates = expectations.later(CommunicationServiceStub).given(f"the template {template_key}")
    templates.SendSystemNotification(
        request=SendSystemNotificationRequest(audience=AUDIENCE_OPERATORS, template_key=template_key),
        answer=SendSystemNotificationResponse(),
    )

    await deliver(mesh, payload)

    assert await settled(mesh, "payment", "SendSystemNotification") == [DELIVERED]


@pytest.mark.parametrize(
    ("state", "error"),
    [
        ("no template with that key", TemplateNotFound()),
        ("a template with other variables", TemplateVariableMissing()),
    ],
    ids=["no template", "other variables"],
)
async def test_a_notification_that_does_not_fit_its_template_becomes_a_dead_letter(
    consume: Consume, state: str, error: ServiceError
) -> None:
    """ProcessWebhook succeeds, and the notification stays in the outbox with the error."""
    mesh, expectations = await consume(SERVICE, **WEBHOOK_SETTINGS)
    template_key, payload = NOTIFICATIONS[0]
    templates = expectations.later(CommunicationServiceStub).given(state, template_key=template_key)
    templates.SendSystemNotification(request=SendSystemNotificationRequest(template_key=template_key), error=error)

    await deliver(mesh, payload)

    (last_error,) = await settled(mesh, "payment", "SendSystemNotification")
    assert error.reason_name() in last_error


async def deliver(mesh: MeshForTests, payload: bytes) -> None:
    """Deliver a webhook of the card processor."""
    await mesh.stub(PaymentServiceStub).ProcessWebhook(signed(payload, mesh.clock.now()))
