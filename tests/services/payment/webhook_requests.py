"""Webhooks of the card processor, as it sends them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson

from solo60.payment.v1.payment_pb2 import ProcessWebhookRequest
from tests.support.webhook_signing import processor_signature

if TYPE_CHECKING:
    from datetime import datetime


def event(event_type: str, data: dict[str, Any]) -> bytes:
    """Return an event with a new id."""
    return orjson.dumps({"id": f"evt_{uuid4().hex}", "object": "event", "type": event_type, "data": {"object": data}})


def signed(payload: bytes, now: datetime) -> ProcessWebhookRequest:
    """Return the request that delivers an event, signed now."""
    return ProcessWebhookRequest(payload=payload, signature=processor_signature(int(now.timestamp()), payload))
