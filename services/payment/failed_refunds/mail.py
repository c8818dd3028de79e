"""Notification of a failed refund for operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.formatting import format_money
from solo60.communication.v1.communication_pb2 import AUDIENCE_OPERATORS, SendSystemNotificationRequest

if TYPE_CHECKING:
    from services.payment.domain import Payment
    from services.payment.failed_refunds.domain import FailedRefundReport

TEMPLATE = "REFUND_FAILED"
# The bank then decides about the money. To return it now could pay the member twice.
_DISPUTED = "charge_for_pending_refund_disputed"
_RETURN = (
    "Return the money by a bank transfer, or as credits with GrantCredits. Do not refund it again at the card "
    "processor: a later refund of the session would count both refunds."
)
_WAIT = "The member disputes the payment at the bank. Return the money only if the dispute is won."


def notification_of(report: FailedRefundReport, payment: Payment | None) -> SendSystemNotificationRequest:
    """Return the notification about a failed refund. `payment` is None if it is not one of this service."""
    is_disputed = report.reason == _DISPUTED or (payment is not None and payment.is_disputed)
    variables = {
        "remedy": _WAIT if is_disputed else _RETURN,
        "refund_id": report.processor_refund_id,
        "payment_id": str(payment.payment_id) if payment else "not a payment of a session",
        "amount": format_money(report.currency, report.minor_units),
        "reason": report.reason,
    }
    return SendSystemNotificationRequest(audience=AUDIENCE_OPERATORS, template_key=TEMPLATE, variables=variables)
