from __future__ import annotations

from dataclasses import replace
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from contracts.errors import InvalidRequest, SubscriptionNotActive, SubscriptionNotFound
from services.subscription.commands import schedule_deadlines_of_older
from services.subscription.deadlines import GRACE_PERIOD, PAST_DUE_PERIOD
from services.subscription.domain import MailKind, SubscriptionStatus
from services.subscription.reports import Ended, PaymentFailed, Period, Renewed
from solo60.subscription.v1.subscription_pb2 import ReviewSubscriptionRequest
from tests.services.subscription.examples import NOW, PAID_AT_ONCE, TRIAL, TRIAL_END, failure, merged, month
from tests.services.subscription.subscription_mesh import DAY, event, webhook

if TYPE_CHECKING:
    from datetime import datetime

    from services.subscription.domain import Subscription
    from solo60.subscription.v1.subscription_pb2 import Subscription as SubscriptionMessage
    from tests.services.subscription.subscription_fixture import SubscriptionFixture
    from tests.services.subscription.subscription_mesh import SubscriptionMesh

MICROSECOND = timedelta(microseconds=1)
FIRST_END = PAID_AT_ONCE.first_period.end
REVIEWS = "select deliver_time from outbox where cancel_key = $1 and status = 'pending'"


@pytest.mark.parametrize(("new", "end"), [(TRIAL, TRIAL_END), (PAID_AT_ONCE, FIRST_END)], ids=["trial", "paid"])
def test_a_subscription_without_reports_expires_by_the_clock(new: Subscription, end: datetime) -> None:
    """Without a report, a subscription is past due 3 days after its period, and expires 14 days after that."""
    initial_status = new.status(NOW)

    assert new.status(end + GRACE_PERIOD - MICROSECOND) is initial_status
    assert new.status(end + GRACE_PERIOD) is SubscriptionStatus.PAST_DUE
    assert new.status(end + GRACE_PERIOD + PAST_DUE_PERIOD - MICROSECOND) is SubscriptionStatus.PAST_DUE
    assert new.status(end + GRACE_PERIOD + PAST_DUE_PERIOD) is SubscriptionStatus.EXPIRED
    assert new.effective_end_time(end + GRACE_PERIOD + PAST_DUE_PERIOD) == end + GRACE_PERIOD + PAST_DUE_PERIOD


def test_an_announced_retry_postpones_the_expiry() -> None:
    """A subscription expires 3 days after the announced retry, or after the failure if no retry was announced."""
    failed = merged(TRIAL, failure(0, attempt=6))
    retry_time = failure(0, attempt=6).retry_time
    assert retry_time is not None

    assert failed.status(retry_time + GRACE_PERIOD - MICROSECOND) is SubscriptionStatus.PAST_DUE
    assert failed.status(retry_time + GRACE_PERIOD) is SubscriptionStatus.EXPIRED
    last = merged(TRIAL, PaymentFailed(TRIAL_END, TRIAL_END + 30 * DAY, None))
    assert last.status(TRIAL_END + 33 * DAY) is SubscriptionStatus.EXPIRED


def test_a_late_renewal_reactivates_an_expired_subscription() -> None:
    """A late renewal reactivates a subscription that expired by the clock, unless its end was reported or is final."""
    late = month(0).start + 25 * DAY
    assert TRIAL.status(late) is SubscriptionStatus.EXPIRED

    assert merged(TRIAL, Renewed(month(0))).status(late) is SubscriptionStatus.ACTIVE
    for ended in (merged(TRIAL, Ended(month(0).start)), TRIAL.closed(late)):
        assert merged(ended, Renewed(month(0))).status(late) is SubscriptionStatus.EXPIRED


def test_an_expired_subscription_can_be_neither_cancelled_nor_resumed() -> None:
    """Cancelling and resuming an expired subscription raise SubscriptionNotActive, although no end is stored."""
    late = TRIAL_END + 40 * DAY
    for at_period_end in (True, False):
        with pytest.raises(SubscriptionNotActive):
            TRIAL.cancelled(late, at_period_end=at_period_end)
    with pytest.raises(SubscriptionNotActive):
        TRIAL.resumed(late)


def test_each_deadline_is_reviewed_once() -> None:
    """A passed deadline moves the review to the next one. A renewal schedules a new review, and an end leaves none."""
    assert TRIAL.review_time == TRIAL_END + GRACE_PERIOD
    first = replace(TRIAL, processed_deadline=TRIAL_END + GRACE_PERIOD)
    assert first.review_time == TRIAL_END + GRACE_PERIOD + PAST_DUE_PERIOD
    assert replace(TRIAL, processed_deadline=first.review_time).review_time is None
    assert merged(first, Renewed(month(0))).review_time == month(0).end + GRACE_PERIOD
    assert TRIAL.cancelled(NOW, at_period_end=True).review_time is None


def test_a_mail_about_an_expiry_is_dropped_after_a_payment() -> None:
    """A mail about an expiry by the clock is due from that time on, and dropped once a payment is reported."""
    over = TRIAL_END + GRACE_PERIOD + PAST_DUE_PERIOD

    assert TRIAL.is_still_true(MailKind.SUBSCRIPTION_EXPIRED, over, over)
    assert not TRIAL.is_still_true(MailKind.SUBSCRIPTION_EXPIRED, over, over - MICROSECOND)
    assert not merged(TRIAL, Renewed(month(0))).is_still_true(MailKind.SUBSCRIPTION_EXPIRED, over, over)


def test_deadlines_of_an_older_subscription_count_from_its_first_review() -> None:
    """A subscription that an older version stored gets its grace period from `watch_time` on."""
    older = replace(TRIAL, watch_time=TRIAL_END + 100 * DAY)

    assert older.status(TRIAL_END + 102 * DAY) is SubscriptionStatus.TRIALING
    assert older.status(TRIAL_END + 103 * DAY) is SubscriptionStatus.PAST_DUE


async def reviews(mesh: SubscriptionMesh, subscription: SubscriptionMessage) -> list[Any]:
    """Return the times of the pending reviews."""
    return [time for (time,) in await mesh.fetch("subscription", REVIEWS, f"review/{subscription.subscription_id}")]


async def test_the_outbox_delivers_each_deadline(stripe_mesh: SubscriptionMesh) -> None:
    """Without a scheduler, the outbox makes a subscription past due, then expires it.

    The expiry sends a mail and lets the user subscribe again.
    """
    new = await stripe_mesh.subscribe()
    # The first review takes over the period of Stripe's first invoice, which begins some seconds later.
    await stripe_mesh.subscriptions.ReviewSubscription(ReviewSubscriptionRequest(subscription_id=new.subscription_id))
    new = await stripe_mesh.get(new)
    past_due = new.current_period.end_time.ToDatetime(UTC) + GRACE_PERIOD
    assert await reviews(stripe_mesh, new) == [past_due]

    await stripe_mesh.advance_to(past_due)
    assert await reviews(stripe_mesh, new) == [past_due + PAST_DUE_PERIOD]
    assert await stripe_mesh.status(new) == "PAST_DUE"

    end_time = past_due + PAST_DUE_PERIOD
    await stripe_mesh.advance_to(end_time)
    assert await reviews(stripe_mesh, new) == []
    assert await stripe_mesh.status(new) == "EXPIRED"
    assert (await stripe_mesh.get(new)).end_time.ToDatetime(UTC) == end_time
    assert f"{end_time:%B %Y, %H:%M} (UTC)" in (await stripe_mesh.mails())["Your subscription Four hours ends"].body
    with pytest.raises(SubscriptionNotActive):
        await stripe_mesh.cancel(new)
    assert await stripe_mesh.status(await stripe_mesh.subscribe(user_id=new.user_id)) == "ACTIVE"


async def expire(mesh: SubscriptionMesh) -> tuple[SubscriptionMessage, Period]:
    """Return a subscription that has expired without a report of a payment, and the period that was not paid."""
    new = await mesh.subscribe()
    await mesh.subscriptions.ReviewSubscription(ReviewSubscriptionRequest(subscription_id=new.subscription_id))
    new = await mesh.get(new)
    start = new.current_period.end_time.ToDatetime(UTC)
    await mesh.advance_to(start + GRACE_PERIOD + PAST_DUE_PERIOD)
    return new, Period(start, start + 40 * DAY)


async def report_late(mesh: SubscriptionMesh, subscription: SubscriptionMessage, period: Period) -> None:
    """Deliver the webhook of a renewal, signed now by the clock of the mesh."""
    times = {"start_time": period.start.isoformat(), "end_time": period.end.isoformat()}
    late = webhook(event("renewed", subscription, period=times), age=-mesh.services.clock.offset)
    assert await mesh.deliver(late) == "RENEWED"


async def test_a_late_webhook_reactivates_an_expired_subscription(stripe_mesh: SubscriptionMesh) -> None:
    """A late renewal webhook reactivates an expired subscription with the credits and the review of the paid period."""
    new, period = await expire(stripe_mesh)

    await report_late(stripe_mesh, new, period)

    assert await stripe_mesh.status(new) == "ACTIVE"
    assert not (await stripe_mesh.get(new)).HasField("end_time")
    await stripe_mesh.wait_until_settled()
    assert await granted_credits(stripe_mesh, new) == 80
    assert await reviews(stripe_mesh, new) == [period.end + GRACE_PERIOD]


async def test_a_late_webhook_does_not_replace_a_newer_subscription(stripe_mesh: SubscriptionMesh) -> None:
    """A late renewal of an expired subscription grants its credits and leaves the user's newer subscription active."""
    old, period = await expire(stripe_mesh)
    new = await stripe_mesh.subscribe(user_id=old.user_id)

    await report_late(stripe_mesh, old, period)

    assert [await stripe_mesh.status(each) for each in (old, new)] == ["EXPIRED", "ACTIVE"]
    assert [await granted_credits(stripe_mesh, each) for each in (old, new)] == [80, 40]
    assert {mail.subject for mail in await stripe_mesh.all_mails()} >= {
        "Your subscription Four hours ends",
        "40 credits for you",
    }


async def granted_credits(mesh: SubscriptionMesh, subscription: SubscriptionMessage) -> int:
    """Return the credits that a subscription has granted."""
    query = "select sum(credits)::int from granted_periods where subscription_id = $1::uuid"
    [(found,)] = await mesh.fetch("subscription", query, subscription.subscription_id)
    return int(found)


async def test_an_early_or_repeated_review_does_nothing(mesh: SubscriptionMesh) -> None:
    """An early or repeated review changes nothing; an unknown id and an invalid one are rejected."""
    new = await mesh.subscribe()
    before = await reviews(mesh, new)
    request = ReviewSubscriptionRequest(subscription_id=new.subscription_id)

    for _ in range(2):
        await mesh.subscriptions.ReviewSubscription(request)

    assert await reviews(mesh, new) == before
    assert await mesh.get(new) == new
    with pytest.raises(SubscriptionNotFound):
        await mesh.subscriptions.ReviewSubscription(ReviewSubscriptionRequest(subscription_id=str(uuid4())))
    with pytest.raises(InvalidRequest):
        await mesh.subscriptions.ReviewSubscription(ReviewSubscriptionRequest(subscription_id="1"))


async def test_a_review_after_both_deadlines_reports_the_end_once(fixture: SubscriptionFixture) -> None:
    """After both deadlines, as after an outage, reviews send one mail. A later reported end changes only the time."""
    new = await fixture.subscribe_new_user()
    fixture.now = new.deadlines.expired + DAY

    for _ in range(4):
        async with fixture.store.transaction() as tx:
            await fixture.commands.review(tx, new.subscription_id)
    async with fixture.store.transaction() as tx:
        await fixture.commands.apply_report(tx, new.subscription_id, Ended(new.first_period.end))

    async with fixture.database.connection() as connection:
        left = "select count(*) from outbox where destination ~ 'Mail' and cancel_key is null"
        mails = await connection.fetchval(left)
    assert mails == 2  # welcome and end
    assert (await fixture.store.find(new.subscription_id)).end_time == new.first_period.end


async def test_subscriptions_of_an_older_version_get_a_review(fixture: SubscriptionFixture) -> None:
    """A subscription that an older version stored without a review gets one review, for its next deadline."""
    new = await fixture.subscribe_new_user()
    await fixture.change("update subscriptions set told_time = null")
    await fixture.change("delete from outbox")

    for _ in range(2):
        await schedule_deadlines_of_older(fixture.store, fixture.commands)

    async with fixture.database.connection() as connection:
        rows = await connection.fetch(REVIEWS, f"review/{new.subscription_id}")
    assert [row["deliver_time"] for row in rows] == [new.deadlines.past_due]
    assert (await fixture.store.find(new.subscription_id)).processed_deadline == new.create_time


async def test_the_latest_paid_period_counts_despite_a_gap() -> None:
    """A subscription is active in its latest paid period, even if a gap precedes that period."""
    far = Period(NOW + 200 * DAY, NOW + 230 * DAY)

    assert merged(PAID_AT_ONCE, Renewed(far)).status(NOW + 210 * DAY) is SubscriptionStatus.ACTIVE
