"""Parsers for invoices of the card processor: the billed subscription and the charged billing period.

The format is Stripe's. Since version 2025-03-31 of its API, invoices and lines name their subscription under `parent`.
Versions from 2023 on have `subscription_details` at the top level, and older versions only `subscription`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from services.subscription.reports import Period

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    JsonObject = Mapping[str, Any]

# Billing reason of a renewal. A renewal counts as charged even if a discount makes the amount 0.
RENEWAL = "subscription_cycle"
_SUBSCRIPTION_LINES = ("subscription", "subscription_item_details")


@dataclass(frozen=True, slots=True)
class Reference:
    """Reference to a subscription at the card processor. The id and the metadata may be missing in an event."""

    processor_id: str
    metadata: JsonObject = field(default_factory=dict)


def reference_of(subscription: JsonObject) -> Reference:
    """Return the reference to a complete subscription object."""
    return Reference(subscription.get("id") or "", subscription.get("metadata") or {})


def subscription_of(invoice: JsonObject) -> Reference | None:
    """Return the subscription billed by an invoice; None if the invoice bills none."""
    references = list(_references(invoice))
    if not references:
        is_for_one = (invoice.get("billing_reason") or "").startswith("subscription")
        return Reference("") if is_for_one else None
    ids = (each.processor_id for each in references if each.processor_id)
    metadata = (each.metadata for each in references if each.metadata)
    return Reference(next(ids, ""), next(metadata, {}))


def paid_period(invoice: JsonObject) -> Period | None:
    """Return the latest billing period charged by an invoice.

    Returns None if the invoice charges no whole period: it starts a trial, corrects a price after a change (proration),
    or bills other items. Raises ValueError if the invoice must have a period but shows none.
    """
    lines = invoice["lines"]["data"]
    own = [line for line in lines if _is_of_subscription(line)]
    periods = [_period(line) for line in own if _is_charged(line, invoice)]
    found = [period for period in periods if period is not None]
    if found:
        return max(found)
    # The event shows only the first ten lines, so the charged line may be missing. A charged line of length 0 is an
    # error too.
    if periods or not lines or invoice["lines"].get("has_more") or invoice.get("billing_reason") == RENEWAL:
        raise ValueError("an invoice without its billing period")
    return None


def unix_time(value: float) -> datetime:
    """Convert seconds since 1970 to a time in UTC."""
    return datetime.fromtimestamp(value, UTC)


def _references(invoice: JsonObject) -> Iterator[Reference]:
    for details in ((invoice.get("parent") or {}).get("subscription_details"), invoice.get("subscription_details")):
        # Some versions show empty details on an invoice without a subscription.
        if details and details.get("metadata"):
            yield Reference("", details["metadata"])
        yield from _reference((details or {}).get("subscription"))
    yield from _reference(invoice.get("subscription"))
    for line in (invoice.get("lines") or {}).get("data") or ():
        if _is_of_subscription(line):
            # The processor copies the subscription's metadata to each of its lines.
            named = [*_reference(line.get("subscription")), *_reference(_item_details(line).get("subscription"))]
            yield from (Reference(each.processor_id, line.get("metadata") or {}) for each in named)


def _reference(subscription: str | JsonObject | None) -> Iterator[Reference]:
    """Yield the reference from a subscription's id or from its complete object; yield nothing for an empty value."""
    if subscription:
        yield Reference(subscription) if isinstance(subscription, str) else reference_of(subscription)


def _item_details(line: JsonObject) -> JsonObject:
    return (line.get("parent") or {}).get("subscription_item_details") or {}


def _is_of_subscription(line: JsonObject) -> bool:
    """Return whether a line bills a subscription item for a whole period, not as a proration."""
    kind = (line.get("parent") or {}).get("type") or line.get("type") or "subscription"
    return kind in _SUBSCRIPTION_LINES and not (line.get("proration") or _item_details(line).get("proration"))


def _is_charged(line: JsonObject, invoice: JsonObject) -> bool:
    """Return whether a line has a price before discounts, or is part of a renewal. Trial lines have no price."""
    amount = line.get("amount", invoice.get("total", invoice.get("amount_paid")))
    return amount != 0 or invoice.get("billing_reason") == RENEWAL


def _period(line: JsonObject) -> Period | None:
    """Return the period of a line; None if its length is 0."""
    start, end = unix_time(line["period"]["start"]), unix_time(line["period"]["end"])
    return Period(start, end) if start < end else None
