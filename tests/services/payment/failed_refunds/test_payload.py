from __future__ import annotations

from typing import Any

import pytest

from contracts.errors import InvalidRequest
from services.payment.failed_refunds.domain import FailedRefundReport
from services.payment.failed_refunds.payload import parse_failed_refund
from services.payment.stripe_events import parse_event
from tests.services.payment.failed_refunds.refund_events import refund_event
from tests.services.payment.requests import PENCE


@pytest.mark.parametrize(
    "event_type", ["refund.failed", "refund.updated", "refund.created", "refund.any", "charge.refund.updated"]
)
def test_each_event_of_a_failed_refund_reports_it(event_type: str) -> None:
    """The status of the refund counts, and not the type of the event."""
    event = parse_event(refund_event("pi_1", event_type=event_type))

    assert parse_failed_refund(event) == FailedRefundReport("re_1", "pi_1", "GBP", PENCE, "lost_or_stolen_card")


@pytest.mark.parametrize(
    ("status", "failure_reason", "reason"),
    [
        ("failed", "insufficient_funds", "insufficient_funds"),
        ("failed", None, "failed"),
        ("canceled", None, "canceled"),
        ("canceled", "merchant_request", "merchant_request"),
        ("failed", "Ada's card!", "unknown"),
        ("failed", 17, "unknown"),
    ],
)
def test_a_failed_refund_has_a_reason(status: str, failure_reason: object, reason: str) -> None:
    """The reason is the one of the card processor, or else the status. A reason of another form is "unknown"."""
    report = parse_failed_refund(parse_event(refund_event("pi_1", status, failure_reason=failure_reason)))

    assert report is not None
    assert report.reason == reason


@pytest.mark.parametrize("status", ["pending", "succeeded", "requires_action", "unknown", None])
def test_a_refund_with_another_status_is_no_failure(status: str | None) -> None:
    """A refund with any other status is no report, whatever its other fields are."""
    assert parse_failed_refund(parse_event(refund_event("pi_1", status, amount=0))) is None


@pytest.mark.parametrize("event_type", ["charge.refunded", "charge.refund.created", "refunds.failed"])
def test_other_events_report_no_failed_refund(event_type: str) -> None:
    """An event of another type is no report, even if its object is a failed refund."""
    assert parse_failed_refund(parse_event(refund_event("pi_1", event_type=event_type))) is None


def test_a_refund_of_a_charge_without_an_intent_is_reported() -> None:
    """A charge of an old integration has no payment intent."""
    report = parse_failed_refund(parse_event(refund_event("pi_1", payment_intent=None)))

    assert report is not None
    assert report.intent_id == ""


@pytest.mark.parametrize(
    "fields",
    [
        {"id": ""},
        {"id": "re\n1"},
        {"id": 17},
        {"amount": 0},
        {"amount": "1250"},
        {"currency": "pounds"},
        {"currency": None},
        {"payment_intent": {"id": "pi_1"}},
    ],
)
def test_a_failed_refund_with_an_invalid_field_cannot_be_parsed(fields: dict[str, Any]) -> None:
    """A failed refund with an invalid field raises InvalidRequest, which repeats no value of the event."""
    with pytest.raises(InvalidRequest) as caught:
        parse_failed_refund(parse_event(refund_event("pi_1", **fields)))

    assert [violation.field for violation in caught.value.violations] == ["payload"]
    assert "Ada" not in f"{caught.value} {caught.value.violations}"


@pytest.mark.parametrize("payload", [b"no JSON", b"[]", b"{}", b'{"type": 17}', b'"refund.failed"'])
def test_a_payload_without_an_event_cannot_be_parsed(payload: bytes) -> None:
    """A payload that is no event raises InvalidRequest."""
    with pytest.raises(InvalidRequest):
        parse_event(payload)


@pytest.mark.parametrize("body", [{}, {"data": {}}, {"data": {"object": {}}}, {"data": {"object": "re_1"}}])
def test_a_refund_event_without_a_refund_cannot_be_parsed(body: dict[str, Any]) -> None:
    """A refund event without its refund or the status of the refund raises InvalidRequest."""
    with pytest.raises(InvalidRequest):
        parse_failed_refund({"type": "refund.failed", **body})
