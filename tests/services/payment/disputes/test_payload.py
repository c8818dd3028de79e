from __future__ import annotations

from typing import Any

import orjson
import pytest

from contracts.errors import InvalidRequest
from services.payment.disputes.payload import parse_dispute
from services.payment.stripe_events import parse_event
from tests.services.payment.disputes.dispute_events import dispute
from tests.services.payment.webhook_requests import event


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "unknown"},
        {"id": ""},
        {"id": "dp\n1"},
        {"id": 17},
        {"amount": 0},
        {"amount": "1250"},
        {"currency": "pounds"},
        {"reason": "Fraud!"},
        {"payment_intent": {"id": "pi_1"}},
        {"evidence_details": {"due_by": "soon"}},
    ],
)
def test_a_dispute_with_an_invalid_field_cannot_be_parsed(fields: dict[str, Any]) -> None:
    """A dispute event with an invalid field raises InvalidRequest."""
    data = orjson.loads(dispute("pi_1", "needs_response"))["data"]["object"]

    with pytest.raises(InvalidRequest):
        parse_dispute(parse_event(event("charge.dispute.created", {**data, **fields})))
