"""Dispute events of the card processor, as it sends them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson

from solo60.payment.v1.payment_pb2 import ProcessWebhookRequest
from tests.support.webhook_signing import processor_signature

if TYPE_CHECKING:
    from datetime import datetime

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


def event(event_type: str, data: dict[str, Any]) -> bytes:
    """Return an event with a new id."""
    return orjson.dumps({"id": f"evt_{uuid4().hex}", "object": "event", "type": event_type, "data": {"object": data}})


def signed(payload: bytes, now: datetime) -> ProcessWebhookRequest:
    """Return the request that delivers an event, signed now."""
    return ProcessWebhookRequest(payload=payload, signature=processor_signature(int(now.timestamp()), payload))
