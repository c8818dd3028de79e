from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from contracts.errors import InvalidRequest
from services.subscription.reports import PaymentFailed, Renewed, Report
from services.subscription.webhook_payload import ParsedWebhook, parse_card_processor
from tests.services.subscription.examples import month
from tests.services.subscription.invoices import (
    PROCESSOR_ID,
    ApiVersion,
    extra_line,
    invoice,
    line,
    processor_event,
    seconds,
)

ID = "0198c1a2-0000-7000-8000-000000000000"
PERIOD, NEXT = month(0), month(1)
EMPTY_PERIOD = (seconds(PERIOD.end), seconds(PERIOD.end))
SUBSCRIPTION = {"object": "subscription", "id": PROCESSOR_ID, "metadata": {"solo60_subscription_id": ID}}


def read(data_object: dict[str, Any], kind: str = "invoice.paid") -> ParsedWebhook | None:
    """Read an event of the card processor about `data_object`."""
    return parse_card_processor(processor_event(kind, data_object, created=seconds(PERIOD.start)))


@pytest.mark.parametrize(
    ("bill", "subscription_id"),
    [
        (invoice(line(PERIOD, api=ApiVersion.V2020), api=ApiVersion.V2020), None),
        (invoice(line(PERIOD, api=ApiVersion.V2023), api=ApiVersion.V2023), None),
        (invoice(line(PERIOD, api=ApiVersion.V2023), api=ApiVersion.V2023, solo60_id=ID), ID),
        (invoice(line(PERIOD)), None),
        (invoice(line(PERIOD), solo60_id=ID), ID),
        ({**invoice(line(PERIOD, api=ApiVersion.V2020), api=ApiVersion.V2020), "subscription": SUBSCRIPTION}, ID),
        ({**invoice({**line(PERIOD), "metadata": SUBSCRIPTION["metadata"]}), "parent": None}, ID),
        (
            {
                **invoice(
                    {**line(PERIOD, api=ApiVersion.V2020), "metadata": SUBSCRIPTION["metadata"]}, api=ApiVersion.V2020
                )
            },
            ID,
        ),
    ],
    ids=["2020", "2023 bare", "2023", "2025 bare", "2025", "expanded", "line of 2025", "line of 2020"],
)
def test_an_invoice_names_its_subscription_in_each_version(bill: dict[str, Any], subscription_id: str | None) -> None:
    """An invoice names its subscription by our id in the metadata, or without it by the processor's id."""
    named = UUID(subscription_id) if subscription_id else None

    assert read(bill) == ParsedWebhook(named, Renewed(PERIOD), PROCESSOR_ID)


def test_both_events_of_one_payment_report_the_same_renewal() -> None:
    """Both events of one payment are read as the same report, because an endpoint may receive either or both."""
    bill = invoice(line(PERIOD), solo60_id=ID)

    assert read(bill, "invoice.payment_succeeded") == read(bill, "invoice.paid")


def test_a_renewal_without_a_named_subscription_is_not_ignored() -> None:
    """A renewal is reported without a subscription if the invoice names none, so that an operator can attribute it."""
    bill = {**invoice(line(PERIOD, parent={"type": "subscription_item_details"})), "parent": None}

    assert read(bill) == ParsedWebhook(None, Renewed(PERIOD))


@pytest.mark.parametrize("api", list(ApiVersion))
def test_the_period_is_read_from_the_subscriptions_own_line(api: ApiVersion) -> None:
    """The period is read from the latest line of the subscription, without extra, empty and proration lines."""
    correction = line((seconds(PERIOD.start) + 60, seconds(NEXT.end) + 60), -500, api=api, proration=True)
    empty = line(EMPTY_PERIOD, api=api)
    lines = [extra_line(seconds(NEXT.start), api=api), empty, correction, line(NEXT, api=api), line(PERIOD, api=api)]
    for bill in (invoice(*lines, api=api), invoice(*reversed(lines), api=api)):
        parsed = read(bill)

        assert parsed is not None
        assert parsed.report == Renewed(NEXT)


@pytest.mark.parametrize(
    ("bill", "report"),
    [
        (invoice(line(PERIOD, 0), reason="subscription_create"), None),
        (invoice(line(PERIOD, 0), extra_line(EMPTY_PERIOD[0]), reason="subscription_create"), None),
        (invoice(line(PERIOD, 0), reason="subscription_update"), None),
        (invoice(line(PERIOD, 4400, proration=True), reason="subscription_update"), None),
        (invoice(extra_line(EMPTY_PERIOD[0], api=ApiVersion.V2020), api=ApiVersion.V2020, reason="manual"), None),
        (invoice(line(PERIOD, 8900), reason="subscription_create"), Renewed(PERIOD)),
        ({**invoice(line(PERIOD), reason="subscription_create"), "total": 0, "amount_paid": 0}, Renewed(PERIOD)),
        (invoice(line(PERIOD, 0)), Renewed(PERIOD)),
    ],
    ids=["trial", "trial and extra", "trial longer", "proration", "extra", "paid", "discount", "free renewal"],
)
def test_an_invoice_without_a_paid_period_reports_nothing(bill: dict[str, Any], report: Report | None) -> None:
    """Trials, prorations and extra items report nothing, while a period that a discount makes free is a renewal."""
    parsed = read(bill)

    assert parsed is not None
    assert parsed.report == report


def test_an_invoice_of_0_without_amounts_on_its_lines_starts_a_trial() -> None:
    """A first invoice of 0 without amounts on its lines is read as the start of a trial."""
    bare = {key: value for key, value in line(PERIOD, 0).items() if key != "amount"}
    bill = {**invoice(line(PERIOD, 0), reason="subscription_create"), "lines": {"data": [bare]}}

    parsed = read(bill)

    assert parsed is not None
    assert parsed.report is None


def test_a_failed_charge_names_the_unpaid_period() -> None:
    """A failed charge reports the start of the unpaid period, and a failed proration reports nothing."""
    failed = read(invoice(extra_line(EMPTY_PERIOD[0]), line(PERIOD)), "invoice.payment_failed")
    correction = read(invoice(line(PERIOD, 900, proration=True), reason="manual"), "invoice.payment_failed")

    assert failed == ParsedWebhook(None, PaymentFailed(PERIOD.start, PERIOD.start, None), PROCESSOR_ID)
    assert correction == ParsedWebhook(None, None, PROCESSOR_ID)


@pytest.mark.parametrize(
    "bill",
    [
        invoice(),
        invoice(line(EMPTY_PERIOD)),
        invoice(extra_line(EMPTY_PERIOD[0])),
        {
            **invoice(extra_line(EMPTY_PERIOD[0]), reason="subscription_update"),
            "lines": {"data": [extra_line(EMPTY_PERIOD[0])], "has_more": True},
        },
    ],
    ids=["no lines", "no length", "no line of its own", "more lines than shown"],
)
def test_an_invoice_without_its_period_is_rejected(bill: dict[str, Any]) -> None:
    """An invoice of a subscription without a period in its lines raises InvalidRequest, so that it is held."""
    with pytest.raises(InvalidRequest):
        read(bill)


@pytest.mark.parametrize("kind", ["customer.subscription.created", "customer.subscription.updated"])
def test_a_subscription_event_of_the_processor_links_the_ids(kind: str) -> None:
    """A subscription event of the processor links its id to our subscription and reports no change."""
    assert read(SUBSCRIPTION, kind) == ParsedWebhook(UUID(ID), None, PROCESSOR_ID)
