"""Invoices of the card processor, in each API version that it still serves."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson

if TYPE_CHECKING:
    from datetime import datetime

    from services.subscription.reports import Period

PROCESSOR_ID = "sub_1RvQ2eK8oJ0p"


class ApiVersion(Enum):
    """API versions, which differ in the place where an invoice names its subscription."""

    # No metadata of the subscription: the invoice has only the processor's id of it.
    V2020 = "2020-08-27"
    # `subscription_details` at the top level, next to `subscription`.
    V2023 = "2023-08-16"
    # `subscription_details` and `subscription` below `parent`.
    V2025 = "2025-03-31.basil"


def line(
    period: Period | tuple[int, int],
    amount: int = 8900,
    *,
    api: ApiVersion = ApiVersion.V2025,
    proration: bool = False,
    parent: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a line of an invoice for a subscription item."""
    start, end = period if isinstance(period, tuple) else (seconds(period.start), seconds(period.end))
    shown = {"object": "line_item", "amount": amount, "period": {"start": start, "end": end}, "metadata": {}}
    if api is ApiVersion.V2025:
        details = {"subscription": PROCESSOR_ID, "subscription_item": "si_1", "proration": proration}
        own = {"type": "subscription_item_details", "subscription_item_details": details}
        return {**shown, "parent": parent or own}
    return {**shown, "type": "subscription", "subscription": PROCESSOR_ID, "proration": proration}


def extra_line(at: int, amount: int = 1500, *, api: ApiVersion = ApiVersion.V2025) -> dict[str, Any]:
    """Return a line for an extra item. Its period has no length."""
    if api is ApiVersion.V2025:
        parent = {"type": "invoice_item_details", "invoice_item_details": {"proration": False, "subscription": None}}
        return line((at, at), amount, parent=parent)
    return {**line((at, at), amount, api=api), "type": "invoiceitem"}


def invoice(
    *lines: dict[str, Any],
    api: ApiVersion = ApiVersion.V2025,
    solo60_id: str | None = None,
    reason: str = "subscription_cycle",
) -> dict[str, Any]:
    """Return a paid invoice of a subscription. `solo60_id` goes into its metadata, if the API version has any."""
    metadata = {"solo60_subscription_id": solo60_id} if solo60_id else {}
    total = sum(each["amount"] for each in lines)
    shown = {
        "object": "invoice",
        "billing_reason": reason,
        "amount_due": total,
        "amount_paid": total,
        "total": total,
        "lines": {"object": "list", "data": list(lines), "has_more": False},
        "metadata": {},
        "next_payment_attempt": None,
    }
    if api is ApiVersion.V2020:
        return {**shown, "subscription": PROCESSOR_ID}
    if api is ApiVersion.V2023:
        return {**shown, "subscription": PROCESSOR_ID, "subscription_details": {"metadata": metadata}}
    details = {"metadata": metadata, "subscription": PROCESSOR_ID}
    return {**shown, "parent": {"type": "subscription_details", "subscription_details": details}}


def processor_event(
    kind: str, data_object: dict[str, Any], *, created: int = 1_796_925_600, event_id: str = ""
) -> bytes:
    """Return the payload of an event of the card processor about `data_object`."""
    event_id = event_id or f"evt_{uuid4().hex}"
    event = {"id": event_id, "object": "event", "type": kind, "created": created, "data": {"object": data_object}}
    return orjson.dumps(event)


def seconds(time: datetime) -> int:
    """Return a time as the card processor writes it: Unix seconds."""
    return int(time.timestamp())
