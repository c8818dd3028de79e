"""Parser for dispute events of the card processor, Stripe."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mesh.webhooks.payload import parsing_payload
from services.payment.disputes.domain import DisputeReport, DisputeStatus
from services.payment.stripe_events import read_amount, read_currency, read_id, read_intent_id, read_reason

if TYPE_CHECKING:
    from collections.abc import Mapping

# Each event with this prefix contains the whole dispute, so its status counts, and not the type of the event.
_DISPUTE_EVENTS = "charge.dispute."
_STATUSES = {
    # The bank asks, and may open a dispute later.
    "warning_needs_response": DisputeStatus.INQUIRY,
    "warning_under_review": DisputeStatus.INQUIRY,
    "warning_closed": DisputeStatus.WON,
    "needs_response": DisputeStatus.OPEN,
    "under_review": DisputeStatus.OPEN,
    "won": DisputeStatus.WON,
    "prevented": DisputeStatus.WON,
    "lost": DisputeStatus.LOST,
}


def parse_dispute(event: Mapping[str, Any]) -> DisputeReport | None:
    """Return the report in an event of the card processor, or None for events that report no dispute.

    Raises InvalidRequest if the event cannot be parsed.
    """
    if not event["type"].startswith(_DISPUTE_EVENTS):
        return None
    with parsing_payload("dispute event"):
        return _report(event["data"]["object"])


def _report(dispute: Mapping[str, Any]) -> DisputeReport:
    due_by = (dispute.get("evidence_details") or {}).get("due_by")
    return DisputeReport(
        dispute_id=read_id(dispute["id"]),
        intent_id=read_intent_id(dispute),
        currency=read_currency(dispute["currency"]),
        minor_units=read_amount(dispute["amount"]),
        reason=read_reason(dispute["reason"]),
        status=_STATUSES[dispute["status"]],
        answer_time=datetime.fromtimestamp(due_by, UTC) if due_by else None,
    )
