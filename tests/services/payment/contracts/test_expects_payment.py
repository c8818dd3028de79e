from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from services.payment.app import SERVICE
from solo60.communication.v1.communication_pb2 import SendSystemNotificationResponse
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub
from solo60.payment.v1.payment_pb2 import (
    ExpireCreditsRequest,
    ExpireCreditsResponse,
    GrantCreditsRequest,
    RefundSessionRequest,
    RefundSessionResponse,
)
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from tests.services.payment.contracts.disputed_session import WEBHOOK_SETTINGS, DisputedSession
from tests.support.settled_messages import DELIVERED, settled

if TYPE_CHECKING:
    from tests.support.consumers import Consume

HOUR = timedelta(hours=1)


async def test_credits_expire_by_a_later_call(consume: Consume) -> None:
    """GrantCredits schedules the call that books the expiry of the credits."""
    mesh, expectations = await consume(SERVICE)
    user_id = str(uuid4())
    grant = GrantCreditsRequest(user_id=user_id, credits=3, reason="goodwill")
    grant.expire_time.FromDatetime(mesh.clock.now() + HOUR)
    expired = expectations.later(PaymentServiceStub).given("a user whose credits have expired", user_id=user_id)
    expired.ExpireCredits(request=ExpireCreditsRequest(user_id=user_id), answer=ExpireCreditsResponse())

    await mesh.stub(PaymentServiceStub).GrantCredits(grant)
    mesh.clock.advance(HOUR)

    assert await settled(mesh, "payment", "ExpireCredits") == [DELIVERED]


async def test_a_won_dispute_resumes_the_refund_of_a_cancelled_session(consume: Consume) -> None:
    """ProcessWebhook schedules the refund that the dispute has prevented."""
    mesh, expectations = await consume(SERVICE, **WEBHOOK_SETTINGS)
    expectations.fake.of(CommunicationServiceStub).SendSystemNotification(
        answer=SendSystemNotificationResponse(message_id=str(uuid4()))
    )
    session = await DisputedSession.charged(mesh)
    won = expectations.later(PaymentServiceStub).given(
        "a cancelled session whose dispute is won", session_id=session.session_id
    )
    won.RefundSession(request=RefundSessionRequest(session_id=session.session_id), answer=RefundSessionResponse())

    await session.report("won")

    assert await settled(mesh, "payment", "RefundSession") == [DELIVERED]
