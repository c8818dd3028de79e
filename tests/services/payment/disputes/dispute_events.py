"""Dispute events of the card processor, as it sends them."""

from __future__ import annotations

from typing import Any

from tests.services.payment.webhook_requests import event

DUE_BY = 1_798_761_600  # 1 January 2027
EVENT_OF = {
    "warning_needs_response": "charge.dispute.created",
    "needs_response": "charge.dispute.created",
    "under_review": "charge.dispute.updated",
}


def dispute(intent_id: str, status: str, dispute_id: str = "dp_1", **fields: Any) -> bytes:
    """Return the event that reports the status of a dispute of £12.50."""
    data = {
        "id": dispute_id,
        "object": "dispute",
        "amount": 1250,
        "currency": "gbp",
        "charge": "ch_1",
        "payment_intent": intent_id,
        "reason": "fraudulent",
        "status": status,
        "evidence_details": {"due_by": DUE_BY, "has_evidence": False},
        "evidence": {"customer_name": "Ada Byron"},
        **fields,
    }
    return event(EVENT_OF.get(status, "charge.dispute.closed"), data)
