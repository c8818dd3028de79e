"""Refund events of the card processor, as it sends them."""

from __future__ import annotations

from typing import Any

from tests.services.payment.requests import PENCE
from tests.services.payment.webhook_requests import event


def refund_event(
    intent_id: str, status: str | None = "failed", event_type: str = "refund.failed", **fields: Any
) -> bytes:
    """Return the event that reports the status of a refund of £12.50."""
    data: dict[str, Any] = {
        "id": "re_1",
        "object": "refund",
        "amount": PENCE,
        "balance_transaction": "txn_1",
        "charge": "ch_1",
        "currency": "gbp",
        "destination_details": {"card": {"reference": "Ada Byron", "type": "refund"}, "type": "card"},
        "metadata": {},
        "payment_intent": intent_id,
        "reason": None,
        "status": status,
    }
    if status == "failed":
        data |= {"failure_reason": "lost_or_stolen_card", "failure_balance_transaction": "txn_2"}
    return event(event_type, data | fields)
