from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from contracts.errors import InvalidRequest, SubscriptionNotActive
from services.subscription.reports import Period
from solo60.subscription.v1.subscription_pb2 import (
    SUBSCRIPTION_MAIL_TRIAL_ENDING,
    AllocateMonthlyCreditsRequest,
    Subscription,
)
from tests.services.subscription.invoices import ApiVersion, extra_line, invoice, line, processor_event, seconds
from tests.services.subscription.subscription_mesh import DAY, FOUR_HOURS, TEN_HOURS, event, processor_webhook, webhook

if TYPE_CHECKING:
    from tests.services.subscription.subscription_mesh import SubscriptionMesh

MONTH = 31 * DAY
METADATA_APIS = [ApiVersion.V2023, ApiVersion.V2025]


def next_period(subscription: Subscription, number: int = 1) -> Period:
    """Return a billing period after the first one, in whole seconds."""
    end = subscription.current_period.end_time.ToDatetime(UTC).replace(microsecond=0)
    return Period(end + (number - 1) * MONTH, end + number * MONTH)


@pytest.mark.parametrize("api", METADATA_APIS)
async def test_invoice_lines_without_length_do_not_block_a_renewal(mesh: SubscriptionMesh, api: ApiVersion) -> None:
    """Period and credits of a renewal come from the subscription's own line, even if other lines have no length."""
    new = await mesh.subscribe(FOUR_HOURS)
    period = next_period(new)
    lines = [extra_line(seconds(period.start), api=api), line(period, 3900, api=api)]
    lines.append(line((seconds(period.end), seconds(period.end)), 0, api=api))
    paid = processor_event("invoice.paid", invoice(*lines, api=api, solo60_id=new.subscription_id))

    assert await mesh.deliver(processor_webhook(paid)) == "RENEWED"

    assert (await mesh.get(new)).current_period.end_time.ToDatetime(UTC) == period.end
    assert await mesh.balance(new.user_id) == 80


@pytest.mark.parametrize("api", METADATA_APIS)
async def test_the_invoice_of_a_trial_start_changes_nothing(mesh: SubscriptionMesh, api: ApiVersion) -> None:
    """An invoice of 0 for the start of a trial is ignored: the trial's status, credits and reminder do not change."""
    new = await mesh.subscribe(TEN_HOURS)
    trial = (new.current_period.start_time.seconds, new.current_period.end_time.seconds)
    bill = invoice(line(trial, 0, api=api), api=api, solo60_id=new.subscription_id, reason="subscription_create")

    assert await mesh.deliver(processor_webhook(processor_event("invoice.paid", bill))) == "IGNORED"

    assert await mesh.status(new) == "TRIALING"
    assert await mesh.balance(new.user_id) == 100
    assert [kind for kind, _ in await mesh.reminders()] == [SUBSCRIPTION_MAIL_TRIAL_ENDING]


async def test_a_proration_grants_no_credits(mesh: SubscriptionMesh) -> None:
    """An invoice of prorations, paid or failed, is ignored: it corrects prices and pays for no new period."""
    new = await mesh.subscribe(FOUR_HOURS)
    rest = (new.current_period.start_time.seconds + 86_400, new.current_period.end_time.seconds)
    lines = [line(rest, -1900, proration=True), line(rest, 4400, proration=True)]
    bill = invoice(*lines, solo60_id=new.subscription_id, reason="subscription_update")

    assert await mesh.deliver(processor_webhook(processor_event("invoice.paid", bill))) == "IGNORED"
    assert await mesh.deliver(processor_webhook(processor_event("invoice.payment_failed", bill))) == "IGNORED"

    assert await mesh.status(new) == "ACTIVE"
    assert await mesh.balance(new.user_id) == 40


async def test_a_trial_and_a_paid_period_in_one_month_grant_credits_each(mesh: SubscriptionMesh) -> None:
    """Credits are granted per billing period: a trial and a paid period that begin in the same month grant twice."""
    new = await mesh.subscribe(TEN_HOURS, trial_days=1)
    first = datetime(2026, 12, 1, 9, tzinfo=UTC)
    moved = "update subscriptions set create_time = $1, first_period = tstzrange($1, $2)"
    await mesh.fetch("subscription", moved, first, first + 14 * DAY)
    await mesh.fetch("subscription", "update granted_periods set period_start = $1", first)
    period = {"start_time": (first + 14 * DAY).isoformat(), "end_time": (first + 14 * DAY + MONTH).isoformat()}

    payloads = [event("renewed", new, period=period) for _ in range(5)]
    await asyncio.gather(*[mesh.deliver(webhook(payload)) for payload in payloads])

    assert await mesh.balance(new.user_id) == 200
    assert set(await mesh.mails()) == {"Welcome to Ten hours", "100 credits for you"}


async def test_the_processors_first_period_is_granted_once(mesh: SubscriptionMesh) -> None:
    """The card processor's first invoice grants no second credits if its start differs from ours by seconds."""
    new = await mesh.subscribe(FOUR_HOURS)
    start = new.current_period.start_time.ToDatetime(UTC)
    bills = [
        invoice(line(Period(begin, begin + MONTH)), solo60_id=new.subscription_id, reason="subscription_create")
        for begin in (start + timedelta(seconds=7), start - timedelta(seconds=1))
    ]

    for bill in bills:
        assert await mesh.deliver(processor_webhook(processor_event("invoice.paid", bill))) == "RENEWED"

    assert await mesh.balance(new.user_id) == 40


def allocate_request(subscription: Subscription, months: int = 0) -> AllocateMonthlyCreditsRequest:
    """Return a request for the credits of the month in which a subscription began, or of `months` later."""
    begin = subscription.create_time.ToDatetime(UTC).replace(day=15) + months * timedelta(days=30)
    return AllocateMonthlyCreditsRequest(subscription_id=subscription.subscription_id, month=f"{begin:%Y-%m}")


@pytest.mark.breaks_invariants("violation_period_not_granted")
async def test_a_missing_period_is_granted_once_by_an_operator(mesh: SubscriptionMesh) -> None:
    """An operator can grant a missing period once, and further calls return the same credits without granting again.

    The test deletes the records, because an older version granted by calendar month and stored none. A cancelled
    subscription without a record receives no credits.
    """
    new = await mesh.subscribe(TEN_HOURS)
    await mesh.balance(new.user_id)
    await mesh.fetch("subscription", "delete from granted_periods")
    await mesh.fetch("subscription", "delete from granted_months")

    answers = await asyncio.gather(
        *[mesh.subscriptions.AllocateMonthlyCredits(allocate_request(new)) for _ in range(10)]
    )

    assert [answer.credits for answer in answers] == [100] * 10
    assert await mesh.balance(new.user_id) == 200
    assert set(await mesh.mails()) == {"Welcome to Ten hours", "100 credits for you"}
    await mesh.cancel(new)
    assert (await mesh.subscriptions.AllocateMonthlyCredits(allocate_request(new))).credits == 100
    await mesh.fetch("subscription", "delete from granted_periods")
    await mesh.fetch("subscription", "delete from granted_months")
    with pytest.raises(SubscriptionNotActive):
        await mesh.subscriptions.AllocateMonthlyCredits(allocate_request(new))


async def test_a_month_without_a_paid_period_is_not_granted(mesh: SubscriptionMesh) -> None:
    """AllocateMonthlyCredits rejects a month in which no paid period of the subscription began, and grants nothing."""
    new = await mesh.subscribe()

    for months in (-1, 1, 40):
        with pytest.raises(InvalidRequest):
            await mesh.subscriptions.AllocateMonthlyCredits(allocate_request(new, months))

    assert await mesh.balance(new.user_id) == 40
