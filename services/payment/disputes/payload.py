"""Parser for dispute events of the card processor, Stripe."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from mesh.webhooks.payload import parsing_payload
from services.payment.disputes.domain import DisputeReport, DisputeStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

# Each event with this prefix contains the whole dispute, so its status counts, and not the type of the event.
DISPUTE_EVENTS = "charge.dispute."
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
_ID, _ID_OR_NONE = re.compile(r"[A-Za-z0-9_-]{1,255}"), re.compile(r"[A-Za-z0-9_-]{0,255}")
_CURRENCY, _REASON = re.compile(r"[A-Z]{3}"), re.compile(r"[a-z_]{0,64}")
_MAX_AMOUNT = 2**63 - 1


def parse_dispute(payload: bytes) -> DisputeReport | None:
    """Return the report in an event of the card processor, or None for events that report no dispute.

    Raises InvalidRequest if the payload cannot be parsed.
    """
    with parsing_payload("dispute event"):
        event = orjson.loads(payload)
        if not event["type"].startswith(DISPUTE_EVENTS):
            return None
        return _report(event["data"]["object"])


def _report(dispute: Mapping[str, Any]) -> DisputeReport:
    due_by = (dispute.get("evidence_details") or {}).get("due_by")
    return DisputeReport(
        dispute_id=_text(dispute["id"], _ID),
        intent_id=_text(dispute.get("payment_intent") or "", _ID_OR_NONE),
        currency=_text(dispute["currency"].upper(), _CURRENCY),
        minor_units=_amount(dispute["amount"]),
        reason=_text(dispute["reason"], _REASON),
        status=_STATUSES[dispute["status"]],
        answer_time=datetime.fromtimestamp(due_by, UTC) if due_by else None,
    )


def _text(value: str, form: re.Pattern[str]) -> str:
    if form.fullmatch(value) is None:
        raise ValueError("a text of another form")
    return value


def _amount(value: object) -> int:
    if not isinstance(value, int) or not 0 < value <= _MAX_AMOUNT:
        raise ValueError("no positive amount")
    return value
