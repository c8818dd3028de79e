"""Parsers for signed webhook payloads, in the Standard Webhooks format and in the card processor's format (Stripe).

An event without a subscription is ignored. A subscription event that cannot be parsed is rejected. Its webhook stays
stored until a version of this service can parse the event.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

import orjson

from mesh.webhooks.payload import parsing_payload
from services.subscription import invoice
from services.subscription.reports import Ended, PaymentFailed, Period, Renewed, Report, TrialEnding

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from services.subscription.invoice import JsonObject

    Parsers = Mapping[str, Callable[[JsonObject], Report | None]]

# Key of our subscription id in the metadata of a subscription at the card processor.
SUBSCRIPTION_ID_KEY = "solo60_subscription_id"
_KIND = "subscription event"
_MAX_ID_LENGTH = 255


@dataclass(frozen=True, slots=True)
class ParsedWebhook:
    """Report about a subscription, identified by our id, the card processor's id, or both.

    Without a report, the event changes no subscription, but may link the two ids.
    """

    subscription_id: UUID | None
    report: Report | None
    processor_id: str = ""


def parse_standard(payload: bytes) -> ParsedWebhook | None:
    """Parse a Standard Webhooks payload ("type", "timestamp", "data"); return None for other event types.

    Raises InvalidRequest if the payload cannot be parsed.
    """
    with parsing_payload(_KIND):
        event = orjson.loads(payload)
        parser = _STANDARD_PARSERS.get(event["type"])
        return ParsedWebhook(UUID(event["data"]["subscription_id"]), parser(event)) if parser else None


def parse_card_processor(payload: bytes) -> ParsedWebhook | None:
    """Parse an event of the card processor; return None if the event has no subscription.

    Supports every version of Stripe's API from 2018 on. Raises InvalidRequest if the payload cannot be parsed.
    """
    with parsing_payload(_KIND):
        event = orjson.loads(payload)
        parser = _PROCESSOR_PARSERS.get(event["type"])
        if parser is None:
            return None
        data_object = event["data"]["object"]
        found = (
            invoice.subscription_of(data_object)
            if data_object.get("object") == "invoice"
            else invoice.reference_of(data_object)
        )
        if found is None:
            return None
        subscription_id = found.metadata.get(SUBSCRIPTION_ID_KEY)
        return ParsedWebhook(UUID(subscription_id) if subscription_id else None, parser(event), found.processor_id)


def parse_event_id(payload: bytes) -> str:
    """Return the id of an event of the card processor, which is the same in every delivery.

    Raises InvalidRequest if the id is missing, empty or longer than 255 characters.
    """
    with parsing_payload(_KIND):
        event_id = orjson.loads(payload)["id"]
        if not isinstance(event_id, str) or not 0 < len(event_id) <= _MAX_ID_LENGTH:
            raise ValueError("an id of another form")
        return event_id


def _time(value: str) -> datetime:
    time = datetime.fromisoformat(value)
    if time.tzinfo is None:
        raise ValueError("a time without a UTC offset")
    return time.astimezone(UTC)


def _period(event: JsonObject) -> Period:
    period = event["data"]["period"]
    return Period(_time(period["start_time"]), _time(period["end_time"]))


def _standard_failure(event: JsonObject) -> PaymentFailed:
    retry = event["data"].get("retry_time")
    return PaymentFailed(_period(event).start, _time(event["timestamp"]), _time(retry) if retry else None)


def _processor_renewal(event: JsonObject) -> Renewed | None:
    period = invoice.paid_period(event["data"]["object"])
    return Renewed(period) if period else None


def _processor_failure(event: JsonObject) -> PaymentFailed | None:
    failed_invoice = event["data"]["object"]
    period, retry = invoice.paid_period(failed_invoice), failed_invoice.get("next_payment_attempt")
    if period is None:
        return None
    return PaymentFailed(period.start, invoice.unix_time(event["created"]), invoice.unix_time(retry) if retry else None)


def _report_nothing(_event: JsonObject) -> None:
    """Report nothing. The event only links the two subscription ids."""


_STANDARD_PARSERS: Parsers = {
    "subscription.renewed": lambda event: Renewed(_period(event)),
    "subscription.payment_failed": _standard_failure,
    "subscription.trial_ending": lambda _event: TrialEnding(),
    "subscription.ended": lambda event: Ended(_time(event["data"]["end_time"])),
}
_PROCESSOR_PARSERS: Parsers = {
    # Stripe sends both events for one payment, but an endpoint may subscribe to only one of them.
    "invoice.paid": _processor_renewal,
    "invoice.payment_succeeded": _processor_renewal,
    "invoice.payment_failed": _processor_failure,
    "customer.subscription.trial_will_end": lambda _event: TrialEnding(),
    "customer.subscription.deleted": lambda event: Ended(invoice.unix_time(event["data"]["object"]["ended_at"])),
    "customer.subscription.created": _report_nothing,
    "customer.subscription.updated": _report_nothing,
}
