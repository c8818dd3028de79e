from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from contracts.errors import InvalidRequest, SubscriptionNotActive, SubscriptionNotFound
from local.inbox import read_inbox
from services.subscription.deadlines import GRACE, PAST_DUE_FOR
from services.subscription.desk import watch_older
from services.subscription.domain import Mail, Status
from services.subscription.reports import Ended, PaymentFailed, Period, Renewed
from solo60.subscription.v1.subscription_pb2 import ReviewSubscriptionRequest
from tests.services.subscription.club import DAY, event, webhook
from tests.services.subscription.examples import NOW, PAID_AT_ONCE, TRIAL, TRIAL_END, failure, month, told
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from services.subscription.domain import Subscription
    from solo60.subscription.v1.subscription_pb2 import Subscription as SubscriptionMessage
    from tests.services.subscription.club import Club
    from tests.services.subscription.office import Office

MOMENT = timedelta(microseconds=1)
FIRST_END = PAID_AT_ONCE.first_period.end
REVIEWS = "select deliver_time from outbox where cancel_key = $1 and status = 'pending'"


@pytest.mark.parametrize(("new", "end"), [(TRIAL, TRIAL_END), (PAID_AT_ONCE, FIRST_END)], ids=["trial", "paid"])
def test_a_subscription_without_reports_expires_by_the_clock(new: Subscription, end: datetime) -> None:
    """Without a report, a subscription is past due 3 days after its period, and expires 14 days after that."""
    is_well = new.status(NOW)

    assert new.status(end + GRACE - MOMENT) is is_well
    assert new.status(end + GRACE) is Status.PAST_DUE
    assert new.status(end + GRACE + PAST_DUE_FOR - MOMENT) is Status.PAST_DUE
    assert new.status(end + GRACE + PAST_DUE_FOR) is Status.EXPIRED
    assert new.over_time(end + GRACE + PAST_DUE_FOR) == end + GRACE + PAST_DUE_FOR


def test_an_announced_retry_postpones_the_expiry() -> None:
    """A subscription expires 3 days after the announced retry, or after the failure if no retry was announced."""
    failed = told(TRIAL, failure(0, attempt=6))
    retry_time = failure(0, attempt=6).retry_time
    assert retry_time is not None

    assert failed.status(retry_time + GRACE - MOMENT) is Status.PAST_DUE
    assert failed.status(retry_time + GRACE) is Status.EXPIRED
    last = told(TRIAL, PaymentFailed(TRIAL_END, TRIAL_END + 30 * DAY, None))
    assert last.status(TRIAL_END + 33 * DAY) is Status.EXPIRED


def test_a_late_renewal_reactivates_an_expired_subscription() -> None:
    """A late renewal reactivates a subscription that expired by the clock, unless its end was reported or is final."""
    late = month(0).start + 25 * DAY
    assert TRIAL.status(late) is Status.EXPIRED

    assert told(TRIAL, Renewed(month(0))).status(late) is Status.ACTIVE
    for ended in (told(TRIAL, Ended(month(0).start)), TRIAL.closed(late)):
        assert told(ended, Renewed(month(0))).status(late) is Status.EXPIRED


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
    assert TRIAL.review_time == TRIAL_END + GRACE
    first = replace(TRIAL, told_time=TRIAL_END + GRACE)
    assert first.review_time == TRIAL_END + GRACE + PAST_DUE_FOR
    assert replace(TRIAL, told_time=first.review_time).review_time is None
    assert told(first, Renewed(month(0))).review_time == month(0).end + GRACE
    assert TRIAL.cancelled(NOW, at_period_end=True).review_time is None


def test_a_mail_about_an_expiry_is_dropped_after_a_payment() -> None:
    """A mail about an expiry by the clock is due from that time on, and dropped once a payment is reported."""
    over = TRIAL_END + GRACE + PAST_DUE_FOR

    assert TRIAL.is_worth_saying(Mail.SUBSCRIPTION_EXPIRED, over, over)
    assert not TRIAL.is_worth_saying(Mail.SUBSCRIPTION_EXPIRED, over, over - MOMENT)
    assert not told(TRIAL, Renewed(month(0))).is_worth_saying(Mail.SUBSCRIPTION_EXPIRED, over, over)


def test_deadlines_of_an_older_subscription_count_from_its_first_review() -> None:
    """A subscription that an older version stored gets its grace period from the time at which it is first watched."""
    older = replace(TRIAL, watch_time=TRIAL_END + 100 * DAY)

    assert older.status(TRIAL_END + 102 * DAY) is Status.TRIALING
    assert older.status(TRIAL_END + 103 * DAY) is Status.PAST_DUE


async def age(club: Club, of: SubscriptionMessage, days: int) -> None:
    """Move a subscription and its deadlines so many days into the past."""
    aged = """
        with back as (select make_interval(days => $2) as days)
        update subscriptions set
            create_time = create_time - days, watch_time = watch_time - days, told_time = told_time - days,
            first_period = tstzrange(lower(first_period) - days, upper(first_period) - days),
            paid_period = tstzrange(lower(paid_period) - days, upper(paid_period) - days)
        from back where subscription_id = $1::uuid
    """
    await club.fetch("subscription", aged, of.subscription_id, days)
    granted = "update granted_periods set period_start = period_start - make_interval(days => $2)"
    await club.fetch("subscription", f"{granted} where subscription_id = $1::uuid", of.subscription_id, days)
    due = """
        update outbox set due_time = now(), deliver_time = deliver_time - make_interval(days => $2)
        where cancel_key = $1 and status = 'pending'
    """
    await club.fetch("subscription", due, f"review/{of.subscription_id}", days)


async def reviews(club: Club, of: SubscriptionMessage) -> list[Any]:
    """Return the times of the pending reviews."""
    return [time for (time,) in await club.fetch("subscription", REVIEWS, f"review/{of.subscription_id}")]


async def test_the_outbox_delivers_each_deadline(club: Club) -> None:
    """Without a scheduler, the outbox makes a subscription past due, then expires it.

    The expiry sends a mail and lets the user subscribe again.
    """
    new = await club.subscribed()
    end = new.current_period.end_time.ToDatetime(UTC)
    assert await reviews(club, new) == [end + GRACE]

    await age(club, new, 35)
    await eventually_reviewed(club, new, [end - 35 * DAY + GRACE + PAST_DUE_FOR])
    assert await club.status(new) == "PAST_DUE"

    await age(club, new, 20)
    await eventually_reviewed(club, new, [])
    assert await club.status(new) == "EXPIRED"
    over_time = end - 55 * DAY + GRACE + PAST_DUE_FOR
    assert (await club.now(new)).end_time.ToDatetime(UTC) == over_time
    assert f"{over_time:%B %Y, %H:%M} (UTC)" in (await club.mails())["Your subscription Four hours ends"].body
    with pytest.raises(SubscriptionNotActive):
        await club.cancelled(new)
    assert await club.status(await club.subscribed(user_id=new.user_id)) == "ACTIVE"


async def eventually_reviewed(club: Club, of: SubscriptionMessage, ahead: list[datetime]) -> None:
    """Wait until exactly these reviews are pending."""

    async def is_reviewed() -> bool:
        return await reviews(club, of) == ahead

    await eventually(is_reviewed)


async def test_a_late_webhook_reactivates_an_expired_subscription(club: Club) -> None:
    """A late renewal webhook reactivates an expired subscription with the credits and the review of the paid period."""
    new = await club.subscribed()
    await age(club, new, 55)
    await eventually_reviewed(club, new, [])
    start = (await club.now(new)).current_period.end_time.ToDatetime(UTC)
    period = {"start_time": start.isoformat(), "end_time": (start + 40 * DAY).isoformat()}

    assert await club.deliver(webhook(event("renewed", new, period=period))) == "RENEWED"

    assert await club.status(new) == "ACTIVE"
    assert not (await club.now(new)).HasField("end_time")
    assert await club.balance(new.user_id) == 80
    assert await reviews(club, new) == [start + 40 * DAY + GRACE]


async def test_a_late_webhook_does_not_replace_a_newer_subscription(club: Club) -> None:
    """A late renewal of an expired subscription grants its credits and leaves the user's newer subscription active."""
    old = await club.subscribed()
    await age(club, old, 55)
    new = await club.subscribed(user_id=old.user_id)
    start = (await club.now(old)).current_period.end_time.ToDatetime(UTC)
    period = {"start_time": start.isoformat(), "end_time": (start + 40 * DAY).isoformat()}

    await club.deliver(webhook(event("renewed", old, period=period)))

    assert [await club.status(each) for each in (old, new)] == ["EXPIRED", "ACTIVE"]
    assert await club.balance(old.user_id) == 120

    async def is_told() -> bool:
        subjects = {mail.subject for mail in read_inbox(club.inbox_folder)}
        return subjects >= {"Your subscription Four hours ends", "40 credits for you"}

    await eventually(is_told)


async def test_an_early_or_repeated_review_does_nothing(club: Club) -> None:
    """An early or repeated review changes nothing; an unknown id and an invalid one are rejected."""
    new = await club.subscribed()
    before = await reviews(club, new)
    request = ReviewSubscriptionRequest(subscription_id=new.subscription_id)

    for _ in range(2):
        await club.subscriptions.ReviewSubscription(request)

    assert await reviews(club, new) == before
    assert await club.now(new) == new
    with pytest.raises(SubscriptionNotFound):
        await club.subscriptions.ReviewSubscription(ReviewSubscriptionRequest(subscription_id=str(uuid4())))
    with pytest.raises(InvalidRequest):
        await club.subscriptions.ReviewSubscription(ReviewSubscriptionRequest(subscription_id="1"))


async def test_a_review_after_both_deadlines_reports_the_end_once(office: Office) -> None:
    """After both deadlines, as after an outage, reviews send one mail. A later reported end changes only the time."""
    new = await office.subscribed()
    office.now = new.deadlines.expired + DAY

    for _ in range(4):
        await office.store.run(lambda register: office.desk.review(register, new.subscription_id))
    ended = Ended(new.first_period.end)
    await office.store.run(lambda register: office.desk.report(register, new.subscription_id, ended))

    async with office.database.connection() as connection:
        left = "select count(*) from outbox where destination ~ 'Mail' and cancel_key is null"
        mails = await connection.fetchval(left)
    assert mails == 2  # welcome and end
    assert (await office.store.find(new.subscription_id)).end_time == new.first_period.end


async def test_subscriptions_of_an_older_version_get_a_review(office: Office) -> None:
    """A subscription that an older version stored without a review gets one review, for its next deadline."""
    new = await office.subscribed()
    await office.change("update subscriptions set told_time = null")
    await office.change("delete from outbox")

    for _ in range(2):
        await watch_older(office.store, office.desk)

    async with office.database.connection() as connection:
        rows = await connection.fetch(REVIEWS, f"review/{new.subscription_id}")
    assert [row["deliver_time"] for row in rows] == [new.deadlines.past_due]
    assert (await office.store.find(new.subscription_id)).told_time == new.create_time


async def test_the_latest_paid_period_counts_despite_a_gap() -> None:
    """A subscription is active in its latest paid period, even if a gap precedes that period."""
    far = Period(NOW + 200 * DAY, NOW + 230 * DAY)

    assert told(PAID_AT_ONCE, Renewed(far)).status(NOW + 210 * DAY) is Status.ACTIVE
