from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from contracts.errors import CardDeclined, SubscriptionNotActive
from services.subscription.domain import Mail, Reminder, Status, Subscription
from services.subscription.plans import a_month_after, accept_card
from services.subscription.reports import Ended, Period, Renewed
from tests.services.subscription.examples import (
    DAY,
    NOW,
    PAID_AT_ONCE,
    TRIAL,
    TRIAL_END,
    failure,
    month,
    told,
)

PAID = told(TRIAL, Renewed(month(0)))
PAST_DUE = told(PAID, failure(1))


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-01-31", "2026-02-28"),
        ("2028-01-31", "2028-02-29"),
        ("2026-02-28", "2026-03-28"),
        ("2026-12-15", "2027-01-15"),
        ("2026-08-31", "2026-09-30"),
    ],
)
def test_a_month_ends_on_the_same_day_or_on_the_last(start: str, end: str) -> None:
    """Months of any length, leap years among them."""
    midnight = datetime.fromisoformat(start).replace(tzinfo=UTC)

    assert a_month_after(midnight) == datetime.fromisoformat(end).replace(tzinfo=UTC)


@pytest.mark.requirement("J4")
@pytest.mark.parametrize(
    ("subscription", "status"),
    [
        (TRIAL, Status.TRIALING),
        (told(TRIAL, failure(0)), Status.PAST_DUE),
        (told(TRIAL, Renewed(month(0)), failure(0)), Status.ACTIVE),
        (PAID_AT_ONCE, Status.ACTIVE),
        (PAID, Status.ACTIVE),
        (PAST_DUE, Status.PAST_DUE),
        (told(PAST_DUE, Renewed(month(1))), Status.ACTIVE),
        (told(PAST_DUE, Ended(NOW)), Status.EXPIRED),
        (told(PAID, Ended(NOW), Renewed(month(1))), Status.EXPIRED),
        (PAID.cancelled(NOW, at_period_end=False), Status.CANCELLED),
        (told(PAID.cancelled(NOW, at_period_end=False), Ended(NOW)), Status.CANCELLED),
        (PAID.cancelled(NOW, at_period_end=True), Status.ACTIVE),
    ],
)
def test_where_a_subscription_stands_follows_from_what_is_known(subscription: Subscription, status: Status) -> None:
    """What is paid outweighs a failure of the same period; an end outweighs all."""
    assert subscription.status(NOW) is status


@pytest.mark.requirement("J4")
def test_one_cancelled_for_its_period_is_over_when_the_period_is() -> None:
    """No scheduler ends it: time does."""
    cancelled = PAID.cancelled(NOW, at_period_end=True)
    end = month(0).end

    assert (cancelled.end_time, cancelled.ends_later(NOW)) == (end, True)
    assert cancelled.status(end - timedelta(microseconds=1)) is Status.ACTIVE
    assert (cancelled.status(end), cancelled.ends_later(end)) == (Status.CANCELLED, False)


@pytest.mark.requirement("J4")
def test_what_has_its_end_is_not_given_the_same_or_a_later_one() -> None:
    """SUBSCRIPTION_NOT_ACTIVE; an earlier end is one."""
    to_end = PAID.cancelled(NOW, at_period_end=True)
    ended = to_end.cancelled(NOW + DAY, at_period_end=False)

    assert (ended.end_time, ended.cancel_time) == (NOW + DAY, NOW)
    for subscription, at_period_end in [(to_end, True), (ended, True), (ended, False)]:
        with pytest.raises(SubscriptionNotActive):
            subscription.cancelled(NOW + 2 * DAY, at_period_end=at_period_end)


@pytest.mark.requirement("J4")
@pytest.mark.parametrize(
    ("subscription", "now", "reminder"),
    [
        (TRIAL, NOW, Reminder(Mail.TRIAL_ENDING, TRIAL_END, TRIAL_END - 3 * DAY)),
        (TRIAL, TRIAL_END - 3 * DAY, None),
        (PAID, NOW, Reminder(Mail.RENEWAL_REMINDER, month(0).end, month(0).end - 7 * DAY)),
        (PAID, month(0).end - 7 * DAY, None),
        (PAST_DUE, NOW, None),
        (PAID.cancelled(NOW, at_period_end=True), NOW, None),
        (PAID.cancelled(NOW, at_period_end=False), NOW, None),
    ],
)
def test_one_reminder_is_to_come_where_something_will_happen(
    subscription: Subscription, now: datetime, reminder: Reminder | None
) -> None:
    """7 days before a renewal, 3 days before a trial ends, and none where that day is past or nothing follows."""
    assert subscription.reminder(now) == reminder


@pytest.mark.requirement("J4")
@pytest.mark.parametrize(
    ("mail", "time", "true_of", "pointless_for"),
    [
        (Mail.RENEWAL_REMINDER, month(0).end, PAID, [told(PAID, Renewed(month(1))), PAST_DUE, TRIAL]),
        (Mail.RENEWAL_REMINDER, month(0).end, PAID, [PAID.cancelled(NOW, at_period_end=True)]),
        (Mail.TRIAL_ENDING, TRIAL_END, TRIAL, [PAID, TRIAL.cancelled(NOW, at_period_end=True)]),
        (Mail.PAYMENT_FAILED, failure(1).retry_time, PAST_DUE, [told(PAST_DUE, Renewed(month(1))), PAID]),
        (Mail.PAYMENT_FAILED, failure(1).retry_time, PAST_DUE, [told(PAST_DUE, failure(1, attempt=1))]),
        (Mail.SUBSCRIPTION_EXPIRED, NOW, told(PAID, Ended(NOW)), [PAID, told(PAID, Ended(NOW - DAY))]),
    ],
)
def test_a_mail_that_is_no_longer_true_is_not_worth_saying(
    mail: Mail, time: datetime, true_of: Subscription, pointless_for: list[Subscription]
) -> None:
    """What is left to be said for a day to come is looked at again on that day."""
    assert true_of.is_worth_saying(mail, time, NOW)
    assert not any(each.is_worth_saying(mail, time, NOW) for each in pointless_for)


@pytest.mark.requirement("J4")
def test_test_mode_takes_one_card() -> None:
    """As the contract says."""
    accept_card("tok_visa")
    with pytest.raises(CardDeclined):
        accept_card("tok_declined")


@pytest.mark.requirement("J4")
@pytest.mark.parametrize("subscription", [PAST_DUE, told(PAID, Ended(NOW)), PAID.cancelled(NOW, at_period_end=False)])
def test_nothing_is_granted_where_nothing_is_paid(subscription: Subscription) -> None:
    """Until the charge succeeds there are no credits."""
    replace(PAID).ensure_takes_credits(NOW)
    with pytest.raises(SubscriptionNotActive):
        subscription.ensure_takes_credits(NOW)


def test_a_period_has_a_length() -> None:
    """Empty and inverted ones are refused."""
    for end in (NOW, NOW - DAY):
        with pytest.raises(ValueError, match="a period must end after its start"):
            Period(NOW, end)
