"""States of the payment service in which the user service has expectations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from tests.services.payment.requests import charge, refund

if TYPE_CHECKING:
    from tests.support.consumers import States
    from tests.support.serving import MeshForTests


async def a_member_with_a_refund(mesh: MeshForTests) -> dict[str, object]:
    """Charge a new member, refund the payment with a reason, and return the id of the member."""
    payments, request = mesh.stub(PaymentServiceStub), charge()
    await payments.ChargeSession(request)
    await payments.RefundSession(refund(request, "the parrot is ill"))
    return {"user_id": request.user_id}


STATES: States = {
    "a member with a refund": a_member_with_a_refund,
}
