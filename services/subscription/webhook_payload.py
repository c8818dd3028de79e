"""Webhook payloads: what a signed one reports, of which subscription, in our own words or in the card processor's.

What is not about a subscription of ours means nothing here. What is, and cannot be read, is refused: it is delivered
again, and acts once it can be read.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from contracts.errors import InvalidRequest, Violation
from services.subscription.domain import Ended, PaymentFailed, Period, Renewed, Report, TrialEnding

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Event = Mapping[str, Any]
    Readers = Mapping[str, Callable[[Event], Report]]

# What a subscription at the card processor carries in its metadata, so that its events say whose they are.
SUBSCRIPTION_ID = "solo60_subscription_id"


@dataclass(frozen=True, slots=True)
class Notice:
    """What a webhook tells of a subscription."""

    subscription_id: UUID
    report: Report


def read_standard(payload: bytes) -> Notice | None:
    """Return what a payload of Standard Webhooks reports ("type", "timestamp", "data"); None: nothing to us.

    Raises InvalidRequest where it cannot be read.
    """
    try:
        event = orjson.loads(payload)
        reader = _STANDARD.get(event["type"])
        return Notice(UUID(event["data"]["subscription_id"]), reader(event)) if reader else None
    except _UNREADABLE:
        raise _unreadable() from None


def read_processor(payload: bytes) -> Notice | None:
    """Return what an event of the card processor reports, in the form of Stripe's API of 2025; None: nothing to us.

    Raises InvalidRequest where it cannot be read.
    """
    try:
        event = orjson.loads(payload)
        reader = _PROCESSOR.get(event["type"])
        subscription_id = _metadata(event["data"]["object"]).get(SUBSCRIPTION_ID) if reader else None
        return Notice(UUID(subscription_id), reader(event)) if reader and subscription_id else None
    except _UNREADABLE:
        raise _unreadable() from None


def id_of_processor(payload: bytes) -> str:
    """Return the id of an event of the card processor, the same in all its deliveries; raise InvalidRequest."""
    try:
        event_id = orjson.loads(payload)["id"]
    except _UNREADABLE:
        raise _unreadable() from None
    if not isinstance(event_id, str) or not 0 < len(event_id) <= _LONGEST_ID:
        raise _unreadable()
    return event_id


_LONGEST_ID = 255
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, OverflowError)


def _unreadable() -> InvalidRequest:
    violation = Violation("payload", "must be JSON, and an event that is about a subscription must have all its fields")
    return InvalidRequest("The payload cannot be read.", violations=[violation])


def _metadata(thing: Event) -> Event:
    """Return the metadata of the subscription that a subscription or an invoice of the card processor is about."""
    if thing.get("object") == "invoice":
        thing = (thing.get("parent") or {}).get("subscription_details") or {}
    return thing.get("metadata") or {}


def _time(value: str) -> datetime:
    time = datetime.fromisoformat(value)
    if time.tzinfo is None:
        raise ValueError("a time without a zone")
    return time.astimezone(UTC)


def _unix_time(value: int) -> datetime:
    return datetime.fromtimestamp(value, UTC)


def _period(event: Event) -> Period:
    period = event["data"]["period"]
    return Period(_time(period["start_time"]), _time(period["end_time"]))


def _invoiced_period(event: Event) -> Period:
    """Return the latest period that a line of an invoice is about: others correct what was before."""
    lines = event["data"]["object"]["lines"]["data"]
    return max(Period(_unix_time(line["period"]["start"]), _unix_time(line["period"]["end"])) for line in lines)


def _standard_failure(event: Event) -> PaymentFailed:
    retry = event["data"].get("retry_time")
    return PaymentFailed(_period(event).start, _time(event["timestamp"]), _time(retry) if retry else None)


def _processor_failure(event: Event) -> PaymentFailed:
    retry = event["data"]["object"].get("next_payment_attempt")
    return PaymentFailed(
        _invoiced_period(event).start, _unix_time(event["created"]), _unix_time(retry) if retry else None
    )


_STANDARD: Readers = {
    "subscription.renewed": lambda event: Renewed(_period(event)),
    "subscription.payment_failed": _standard_failure,
    "subscription.trial_ending": lambda _event: TrialEnding(),
    "subscription.ended": lambda event: Ended(_time(event["data"]["end_time"])),
}
_PROCESSOR: Readers = {
    "invoice.paid": lambda event: Renewed(_invoiced_period(event)),
    "invoice.payment_failed": _processor_failure,
    "customer.subscription.trial_will_end": lambda _event: TrialEnding(),
    "customer.subscription.deleted": lambda event: Ended(_unix_time(event["data"]["object"]["ended_at"])),
}
