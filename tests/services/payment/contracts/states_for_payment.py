"""States of the payment service in which its own later calls have expectations."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from solo60.payment.v1.payment_pb2 import GrantCreditsRequest
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from tests.services.payment.contracts.disputed_session import DisputedSession

if TYPE_CHECKING:
    from tests.support.consumers import States
    from tests.support.serving import MeshForTests

HOUR = timedelta(hours=1)


async def a_user_whose_credits_have_expired(mesh: MeshForTests) -> dict[str, object]:
    """Grant credits for an hour, and move the clock."""
    request = GrantCreditsRequest(user_id=str(uuid4()), credits=3, reason="goodwill")
    request.expire_time.FromDatetime(mesh.clock.now() + HOUR)
    await mesh.stub(PaymentServiceStub).GrantCredits(request)
    mesh.clock.advance(HOUR)
    return {"user_id": request.user_id}


async def a_cancelled_session_whose_dispute_is_won(mesh: MeshForTests) -> dict[str, object]:
    """Cancel a session during a dispute of its payment, which ends for us."""
    session = await DisputedSession.charged(mesh)
    await session.report("won")
    return {"session_id": session.session_id}


STATES: States = {
    "a cancelled session whose dispute is won": a_cancelled_session_whose_dispute_is_won,
    "a user whose credits have expired": a_user_whose_credits_have_expired,
}
