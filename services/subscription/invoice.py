"""Invoices of the card processor: the subscription that one bills, and the billing period that it pays.

The shapes are Stripe's. Since version 2025-03-31 of its API, invoices and lines name their subscription below `parent`.
Versions from 2023 on have `subscription_details` at the top level, and older ones `subscription` alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from services.subscription.reports import Period

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Thing = Mapping[str, Any]

# The reason of an invoice for a period that follows another one. It is paid even if a discount makes it 0.
RENEWAL = "subscription_cycle"
_SUBSCRIPTION_LINES = ("subscription", "subscription_item_details")


@dataclass(frozen=True, slots=True)
class Reference:
    """A subscription at the card processor: its id there, and its metadata as far as the event shows it."""

    processor_id: str
    metadata: Thing = field(default_factory=dict)


def reference_of(subscription: Thing) -> Reference:
    """Return the reference to a subscription that is shown whole."""
    return Reference(subscription.get("id") or "", subscription.get("metadata") or {})


def subscription_of(invoice: Thing) -> Reference | None:
    """Return the subscription that an invoice bills; None if it bills none."""
    references = list(_references(invoice))
    if not references:
        is_for_one = (invoice.get("billing_reason") or "").startswith("subscription")
        return Reference("") if is_for_one else None
    ids = (each.processor_id for each in references if each.processor_id)
    metadata = (each.metadata for each in references if each.metadata)
    return Reference(next(ids, ""), next(metadata, {}))


def paid_period(invoice: Thing) -> Period | None:
    """Return the billing period that an invoice charges for, the latest of several.

    None if it charges for no whole period: it starts a trial, corrects prices after a change (proration), or bills
    something beside the subscription. Raises ValueError if it must have a period and shows none.
    """
    lines = invoice["lines"]["data"]
    own = [line for line in lines if _is_of_subscription(line)]
    periods = [_period(line) for line in own if _is_charged(line, invoice)]
    found = [period for period in periods if period is not None]
    if found:
        return max(found)
    # Lines beyond the first ten are not in the event, and one that is charged has a length.
    if periods or not lines or invoice["lines"].get("has_more") or invoice.get("billing_reason") == RENEWAL:
        raise ValueError("an invoice without the period that it charges for")
    return None


def unix_time(value: float) -> datetime:
    """Return a time in UTC that is given as seconds since 1970."""
    return datetime.fromtimestamp(value, UTC)


def _references(invoice: Thing) -> Iterator[Reference]:
    for details in ((invoice.get("parent") or {}).get("subscription_details"), invoice.get("subscription_details")):
        # Some versions show empty details on an invoice that bills no subscription.
        if details and details.get("metadata"):
            yield Reference("", details["metadata"])
        yield from _reference((details or {}).get("subscription"))
    yield from _reference(invoice.get("subscription"))
    for line in (invoice.get("lines") or {}).get("data") or ():
        if _is_of_subscription(line):
            # The processor copies the metadata of the subscription to its lines.
            named = [*_reference(line.get("subscription")), *_reference(_item_details(line).get("subscription"))]
            yield from (Reference(each.processor_id, line.get("metadata") or {}) for each in named)


def _reference(subscription: str | Thing | None) -> Iterator[Reference]:
    """Yield the reference to a subscription that is shown by its id, or whole where the endpoint expands it."""
    if subscription:
        yield Reference(subscription) if isinstance(subscription, str) else reference_of(subscription)


def _item_details(line: Thing) -> Thing:
    return (line.get("parent") or {}).get("subscription_item_details") or {}


def _is_of_subscription(line: Thing) -> bool:
    """Tell whether a line charges for a subscription item, for a whole period and not as a correction."""
    kind = (line.get("parent") or {}).get("type") or line.get("type") or "subscription"
    return kind in _SUBSCRIPTION_LINES and not (line.get("proration") or _item_details(line).get("proration"))


def _is_charged(line: Thing, invoice: Thing) -> bool:
    """Tell whether a line costs something before discounts: in a trial it does not."""
    amount = line.get("amount", invoice.get("total", invoice.get("amount_paid")))
    return amount != 0 or invoice.get("billing_reason") == RENEWAL


def _period(line: Thing) -> Period | None:
    """Return the period of a line; None if it has no length."""
    start, end = unix_time(line["period"]["start"]), unix_time(line["period"]["end"])
    return Period(start, end) if start < end else None
