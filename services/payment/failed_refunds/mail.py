"""Notification of a failed refund for operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.formatting import format_money
from solo60.communication.v1.communication_pb2 import AUDIENCE_OPERATORS, SendSystemNotificationRequest

if TYPE_CHECKING:
    from services.payment.domain import Payment
    from services.payment.failed_refunds.domain import FailedRefund

TEMPLATE = "REFUND_FAILED"
# The bank then decides about the money. To return it now could pay the member twice.
_DISPUTED = "charge_for_pending_refund_disputed"
_RETURN = "Return the money in another way, for example as credits or by a bank transfer."
_WAIT = "The member disputes the payment at the bank. Return the money in another way only if the dispute is won."


def notification_of(failed: FailedRefund, payment: Payment | None) -> SendSystemNotificationRequest:
    """Return the notification about a failed refund. `payment` is None if it is not one of this service."""
    variables = {
        "remedy": _WAIT if failed.reason == _DISPUTED else _RETURN,
        "refund_id": failed.refund_id,
        "payment_id": str(payment.payment_id) if payment else "not a payment of a session",
        "user_id": str(payment.order.user_id) if payment else "shown by the card processor's dashboard",
        "amount": format_money(failed.currency, failed.minor_units),
        "reason": failed.reason,
    }
    return SendSystemNotificationRequest(audience=AUDIENCE_OPERATORS, template_key=TEMPLATE, variables=variables)
