"""Parsers for signed webhook payloads, in the Standard Webhooks format and in the card processor's format (Stripe).

An event without a subscription is ignored. A subscription event that cannot be parsed is rejected, but stays stored
until a version of this service can parse it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from contracts.errors import InvalidRequest, Violation
from services.subscription import invoice
from services.subscription.reports import Ended, PaymentFailed, Period, Renewed, Report, TrialEnding

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Event = Mapping[str, Any]
    Readers = Mapping[str, Callable[[Event], Report | None]]

# Key of our subscription id in the metadata of a subscription at the card processor.
SUBSCRIPTION_ID = "solo60_subscription_id"


@dataclass(frozen=True, slots=True)
class Notice:
    """Report about a subscription, identified by our id, the card processor's id, or both.

    Without a report, the event changes no subscription, but may link the two ids.
    """

    subscription_id: UUID | None
    report: Report | None
    processor_id: str = ""


def read_standard(payload: bytes) -> Notice | None:
    """Parse a Standard Webhooks payload ("type", "timestamp", "data"); return None for other event types.

    Raises InvalidRequest if the payload cannot be parsed.
    """
    try:
        event = orjson.loads(payload)
        reader = _STANDARD.get(event["type"])
        return Notice(UUID(event["data"]["subscription_id"]), reader(event)) if reader else None
    except _UNREADABLE:
        raise _unreadable() from None


def read_processor(payload: bytes) -> Notice | None:
    """Parse an event of the card processor; return None if the event has no subscription.

    Supports every version of Stripe's API from 2018 on. Raises InvalidRequest if the payload cannot be parsed.
    """
    try:
        event = orjson.loads(payload)
        reader = _PROCESSOR.get(event["type"])
        if reader is None:
            return None
        thing = event["data"]["object"]
        found = invoice.subscription_of(thing) if thing.get("object") == "invoice" else invoice.reference_of(thing)
        if found is None:
            return None
        subscription_id = found.metadata.get(SUBSCRIPTION_ID)
        return Notice(UUID(subscription_id) if subscription_id else None, reader(event), found.processor_id)
    except _UNREADABLE:
        raise _unreadable() from None


def id_of_processor(payload: bytes) -> str:
    """Return the id of an event of the card processor, which is the same in every delivery.

    Raises InvalidRequest if the id is missing, empty or longer than 255 characters.
    """
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
    violation = Violation("payload", "must be JSON, and a subscription event must have all its fields")
    return InvalidRequest("The payload cannot be parsed.", violations=[violation])


def _time(value: str) -> datetime:
    time = datetime.fromisoformat(value)
    if time.tzinfo is None:
        raise ValueError("a time without a UTC offset")
    return time.astimezone(UTC)


def _period(event: Event) -> Period:
    period = event["data"]["period"]
    return Period(_time(period["start_time"]), _time(period["end_time"]))


def _standard_failure(event: Event) -> PaymentFailed:
    retry = event["data"].get("retry_time")
    return PaymentFailed(_period(event).start, _time(event["timestamp"]), _time(retry) if retry else None)


def _processor_renewal(event: Event) -> Renewed | None:
    period = invoice.paid_period(event["data"]["object"])
    return Renewed(period) if period else None


def _processor_failure(event: Event) -> PaymentFailed | None:
    thing = event["data"]["object"]
    period, retry = invoice.paid_period(thing), thing.get("next_payment_attempt")
    if period is None:
        return None
    return PaymentFailed(period.start, invoice.unix_time(event["created"]), invoice.unix_time(retry) if retry else None)


def _nothing(_event: Event) -> None:
    """Report nothing. The event only links the two subscription ids."""


_STANDARD: Readers = {
    "subscription.renewed": lambda event: Renewed(_period(event)),
    "subscription.payment_failed": _standard_failure,
    "subscription.trial_ending": lambda _event: TrialEnding(),
    "subscription.ended": lambda event: Ended(_time(event["data"]["end_time"])),
}
_PROCESSOR: Readers = {
    # Stripe sends both events for one payment, but an endpoint may subscribe to only one of them.
    "invoice.paid": _processor_renewal,
    "invoice.payment_succeeded": _processor_renewal,
    "invoice.payment_failed": _processor_failure,
    "customer.subscription.trial_will_end": lambda _event: TrialEnding(),
    "customer.subscription.deleted": lambda event: Ended(invoice.unix_time(event["data"]["object"]["ended_at"])),
    "customer.subscription.created": _nothing,
    "customer.subscription.updated": _nothing,
}
