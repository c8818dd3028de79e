"""Notifications of disputes for operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.formatting import format_money, format_time
from services.payment.disputes.domain import DisputeStatus
from solo60.communication.v1.communication_pb2 import AUDIENCE_OPERATORS, SendSystemNotificationRequest

if TYPE_CHECKING:
    from services.payment.disputes.domain import DisputeReport
    from services.payment.domain import Payment

TEMPLATE = "PAYMENT_DISPUTED"
_EVENTS = {
    DisputeStatus.INQUIRY: ("inquiry", "A bank asks about a card payment. No money has moved."),
    DisputeStatus.OPEN: ("opened", "A member disputes a card payment. The card processor has taken the money back."),
    DisputeStatus.WON: ("won", "The dispute is over. The money is ours."),
    DisputeStatus.LOST: ("lost", "The bank has decided for the member. The money is lost."),
}


def notification_of(
    report: DisputeReport, status: DisputeStatus, payment: Payment | None
) -> SendSystemNotificationRequest:
    """Return the notification about the new status of a dispute."""
    outcome, sentence = _EVENTS[status]
    is_over = status in (DisputeStatus.WON, DisputeStatus.LOST)
    answer_time = None if is_over else report.answer_time
    variables = {
        "outcome": outcome,
        "sentence": sentence,
        "dispute_id": report.dispute_id,
        "payment_id": str(payment.payment_id) if payment else "not a payment of a session",
        "amount": format_money(report.currency, report.minor_units),
        "reason": report.reason or "none",
        "answer_time": format_time(answer_time, "UTC") if answer_time else "none",
    }
    return SendSystemNotificationRequest(audience=AUDIENCE_OPERATORS, template_key=TEMPLATE, variables=variables)
