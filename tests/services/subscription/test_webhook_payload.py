from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
import pytest

from contracts.errors import InvalidRequest
from services.subscription.reports import Ended, PaymentFailed, Period, Renewed, Report, TrialEnding
from services.subscription.webhook_payload import ParsedWebhook, parse_card_processor, parse_event_id, parse_standard

if TYPE_CHECKING:
    from collections.abc import Callable

ID = "0198c1a2-0000-7000-8000-000000000000"
START, END = datetime(2026, 12, 10, 18, tzinfo=UTC), datetime(2027, 1, 10, 18, tzinfo=UTC)
RETRY = datetime(2026, 12, 13, 18, tzinfo=UTC)
PERIOD = {"start_time": "2026-12-10T18:00:00Z", "end_time": "2027-01-10T19:00:00+01:00"}
DETAILS = {"subscription_details": {"metadata": {"solo60_subscription_id": ID}}}
LINES = [
    {"period": {"start": START.timestamp() - 86_400, "end": START.timestamp()}},
    {"period": {"start": int(START.timestamp()), "end": int(END.timestamp())}},
]
ONE_OFF = {"object": "invoice", "billing_reason": "manual", "lines": {"data": []}}
INVOICE = {"object": "invoice", "parent": DETAILS, "lines": {"data": LINES}}


def standard(kind: str, **data: Any) -> bytes:
    """Return a payload in Solo60's own format."""
    return orjson.dumps({"type": f"subscription.{kind}", "timestamp": "2026-12-10T18:00:00Z", "data": data})


def processor(kind: str, **fields: Any) -> bytes:
    """Return a payload in the card processor's format."""
    event = {"id": "evt_1", "type": kind, "created": int(START.timestamp()), "data": {"object": fields}}
    return orjson.dumps(event)


@pytest.mark.parametrize(
    ("payload", "report"),
    [
        (standard("renewed", subscription_id=ID, period=PERIOD), Renewed(Period(START, END))),
        (
            standard("payment_failed", subscription_id=ID, period=PERIOD, retry_time="2026-12-13T18:00:00Z"),
            PaymentFailed(START, START, RETRY),
        ),
        (standard("payment_failed", subscription_id=ID, period=PERIOD), PaymentFailed(START, START, None)),
        (standard("trial_ending", subscription_id=ID), TrialEnding()),
        (standard("ended", subscription_id=ID, end_time="2027-01-10T18:00:00Z"), Ended(END)),
    ],
)
def test_solo60_payloads_are_read(payload: bytes, report: Report) -> None:
    """A payload in Solo60's own format is read as the subscription and a report with times in UTC."""
    assert parse_standard(payload) == ParsedWebhook(UUID(ID), report)


@pytest.mark.parametrize(
    ("payload", "report"),
    [
        (processor("invoice.paid", **INVOICE), Renewed(Period(START, END))),
        (
            processor("invoice.payment_failed", **INVOICE, next_payment_attempt=int(RETRY.timestamp())),
            PaymentFailed(START, START, RETRY),
        ),
        (
            processor("invoice.payment_failed", **INVOICE, next_payment_attempt=None),
            PaymentFailed(START, START, None),
        ),
        (processor("customer.subscription.trial_will_end", **DETAILS["subscription_details"]), TrialEnding()),
        (
            processor("customer.subscription.deleted", **DETAILS["subscription_details"], ended_at=END.timestamp()),
            Ended(END),
        ),
    ],
)
def test_card_processor_payloads_are_read(payload: bytes, report: Report) -> None:
    """An invoice reports the latest period of its lines, for the subscription that its parent names."""
    assert parse_card_processor(payload) == ParsedWebhook(UUID(ID), report)
    assert parse_event_id(payload) == "evt_1"


@pytest.mark.parametrize(
    ("read", "payload"),
    [
        (parse_standard, standard("paused", subscription_id=ID)),
        (parse_standard, orjson.dumps({"type": "invoice.paid"})),
        (parse_card_processor, processor("customer.created", object="customer")),
        (parse_card_processor, processor("invoice.paid", **{**INVOICE, "parent": None})),
        (parse_card_processor, processor("invoice.paid", **{**ONE_OFF, "subscription": None})),
        (parse_card_processor, processor("invoice.paid", **{**ONE_OFF, "subscription_details": {"metadata": None}})),
    ],
)
def test_an_irrelevant_payload_is_ignored(read: Callable[[bytes], ParsedWebhook | None], payload: bytes) -> None:
    """A payload about another subject is read as None, because rejecting it would make the sender repeat it."""
    assert read(payload) is None


@pytest.mark.parametrize(
    "payload",
    [
        b"{",
        b"\xff",
        b"[]",
        b"{}",
        b'"subscription.renewed"',
        b"[" * 100_000,
        standard("renewed", subscription_id="1", period=PERIOD),
        standard("renewed", subscription_id=ID),
        standard("renewed", subscription_id=ID, period={**PERIOD, "start_time": 5}),
        standard("renewed", subscription_id=ID, period={**PERIOD, "end_time": "2027-01-10T18:00:00"}),
        standard("renewed", subscription_id=ID, period={**PERIOD, "end_time": PERIOD["start_time"]}),
        standard("ended", subscription_id=ID, end_time=None),
    ],
)
def test_an_unreadable_solo60_payload_is_rejected(payload: bytes) -> None:
    """The error for an unreadable payload names the field "payload" and repeats no part of its content."""
    with pytest.raises(InvalidRequest) as refused:
        parse_standard(payload)

    assert [violation.field for violation in refused.value.violations] == ["payload"]
    assert ID not in str(refused.value)


@pytest.mark.parametrize(
    "payload",
    [
        b"{",
        b"7",
        processor("invoice.paid", **{**INVOICE, "lines": {"data": []}}),
        processor("invoice.paid", **{**INVOICE, "lines": {"data": [{"period": {"start": 1e30, "end": 1e31}}]}}),
        processor("customer.subscription.deleted", metadata={"solo60_subscription_id": 7}, ended_at=0),
        processor("customer.subscription.deleted", **DETAILS["subscription_details"]),
    ],
)
def test_an_unreadable_card_processor_payload_is_rejected(payload: bytes) -> None:
    """An unreadable payload of the card processor raises InvalidRequest."""
    with pytest.raises(InvalidRequest):
        parse_card_processor(payload)


@pytest.mark.parametrize("payload", [b"{}", b"[]", b"{", b'{"id": 7}', b'{"id": ""}', orjson.dumps({"id": "e" * 256})])
def test_an_event_without_an_id_is_rejected(payload: bytes) -> None:
    """An event without a usable id is rejected, because a repetition could not be recognised."""
    with pytest.raises(InvalidRequest):
        parse_event_id(payload)
