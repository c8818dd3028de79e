"""Parser for refund events of the card processor, Stripe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mesh.webhooks.payload import parsing_payload
from services.payment.failed_refunds.domain import FailedRefundReport
from services.payment.stripe_events import read_amount, read_currency, read_id, read_intent_id, read_reason

if TYPE_CHECKING:
    from collections.abc import Mapping

# Each of these events contains the whole refund, so its status counts, and not the type of the event.
_REFUND_EVENTS = "refund."
_OLD_REFUND_EVENT = "charge.refund.updated"
# In both cases the money has not reached the member.
_FAILED = ("failed", "canceled")


def parse_failed_refund(event: Mapping[str, Any]) -> FailedRefundReport | None:
    """Return the report in an event of the card processor, or None for events that report no failed refund.

    Raises InvalidRequest if the event cannot be parsed.
    """
    if not event["type"].startswith(_REFUND_EVENTS) and event["type"] != _OLD_REFUND_EVENT:
        return None
    with parsing_payload("refund event"):
        refund = event["data"]["object"]
        return _report(refund) if refund["status"] in _FAILED else None


def _report(refund: Mapping[str, Any]) -> FailedRefundReport:
    return FailedRefundReport(
        processor_refund_id=read_id(refund["id"]),
        intent_id=read_intent_id(refund),
        currency=read_currency(refund["currency"]),
        minor_units=read_amount(refund["amount"]),
        # Stripe may give no reason, for example for a canceled refund.
        reason=_reason(refund.get("failure_reason") or refund["status"]),
    )


def _reason(value: Any) -> str:  # noqa: ANN401 - any JSON
    """Return the reason, or "unknown" for one of another form: a reason must not prevent the report."""
    try:
        return read_reason(value)
    except (TypeError, ValueError):
        return "unknown"
