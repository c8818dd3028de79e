from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from contracts.errors import SubscriptionNotActive
from services.subscription.domain import MailKind, Reminder, Subscription, SubscriptionStatus
from services.subscription.reports import Ended, Period, Renewed
from tests.services.subscription.examples import (
    DAY,
    NOW,
    PAID_AT_ONCE,
    TRIAL,
    TRIAL_END,
    failure,
    merged,
    month,
)

PAID = merged(TRIAL, Renewed(month(0)))
PAST_DUE = merged(PAID, failure(1))


@pytest.mark.requirement("J4")
@pytest.mark.parametrize(
    ("subscription", "status"),
    [
        (TRIAL, SubscriptionStatus.TRIALING),
        (merged(TRIAL, failure(0)), SubscriptionStatus.PAST_DUE),
        (merged(TRIAL, Renewed(month(0)), failure(0)), SubscriptionStatus.ACTIVE),
        (PAID_AT_ONCE, SubscriptionStatus.ACTIVE),
        (PAID, SubscriptionStatus.ACTIVE),
        (PAST_DUE, SubscriptionStatus.PAST_DUE),
        (merged(PAST_DUE, Renewed(month(1))), SubscriptionStatus.ACTIVE),
        (merged(PAST_DUE, Ended(NOW)), SubscriptionStatus.EXPIRED),
        (merged(PAID, Ended(NOW), Renewed(month(1))), SubscriptionStatus.EXPIRED),
        (PAID.cancelled(NOW, at_period_end=False), SubscriptionStatus.CANCELLED),
        (merged(PAID.cancelled(NOW, at_period_end=False), Ended(NOW)), SubscriptionStatus.CANCELLED),
        (PAID.cancelled(NOW, at_period_end=True), SubscriptionStatus.ACTIVE),
    ],
)
def test_the_status_follows_from_the_known_facts(subscription: Subscription, status: SubscriptionStatus) -> None:
    """A payment overrides a failure of the same period, and an end overrides both."""
    assert subscription.status(NOW) is status


@pytest.mark.requirement("J4")
def test_a_subscription_cancelled_at_period_end_ends_with_its_period() -> None:
    """A subscription cancelled at the end of its period is active until then, and cancelled from that time on."""
    cancelled = PAID.cancelled(NOW, at_period_end=True)
    end = month(0).end

    assert (cancelled.end_time, cancelled.has_planned_end(NOW)) == (end, True)
    assert cancelled.status(end - timedelta(microseconds=1)) is SubscriptionStatus.ACTIVE
    assert (cancelled.status(end), cancelled.has_planned_end(end)) == (SubscriptionStatus.CANCELLED, False)


@pytest.mark.requirement("J4")
def test_an_end_can_only_become_earlier() -> None:
    """Cancelling again is allowed only for an earlier end; the same or a later end raises SubscriptionNotActive."""
    to_end = PAID.cancelled(NOW, at_period_end=True)
    ended = to_end.cancelled(NOW + DAY, at_period_end=False)

    assert (ended.end_time, ended.cancel_time) == (NOW + DAY, NOW)
    for subscription, at_period_end in [(to_end, True), (ended, True), (ended, False)]:
        with pytest.raises(SubscriptionNotActive):
            subscription.cancelled(NOW + 2 * DAY, at_period_end=at_period_end)


@pytest.mark.requirement("J4")
@pytest.mark.parametrize(
    ("subscription", "now", "reminders"),
    [
        (TRIAL, NOW, (Reminder(MailKind.TRIAL_ENDING, TRIAL_END, 3),)),
        (TRIAL, TRIAL_END - 3 * DAY, ()),
        (PAID, NOW, tuple(Reminder(MailKind.RENEWAL_REMINDER, month(0).end, days) for days in (7, 3))),
        (PAID, month(0).end - 7 * DAY, (Reminder(MailKind.RENEWAL_REMINDER, month(0).end, 3),)),
        (PAID, month(0).end - 3 * DAY, ()),
        (PAST_DUE, NOW, ()),
        (PAID.cancelled(NOW, at_period_end=True), NOW, ()),
        (PAID.cancelled(NOW, at_period_end=False), NOW, ()),
    ],
)
def test_a_reminder_is_scheduled_only_for_a_coming_event(
    subscription: Subscription, now: datetime, reminders: tuple[Reminder, ...]
) -> None:
    """Reminders are due 7 and 3 days before a renewal, and 3 days before a trial ends.

    There is none if its day has passed, or if the subscription is past due or cancelled.
    """
    assert subscription.reminders(now) == reminders


@pytest.mark.requirement("J4")
@pytest.mark.parametrize(
    ("kind", "time", "true_of", "outdated_for"),
    [
        (MailKind.RENEWAL_REMINDER, month(0).end, PAID, [merged(PAID, Renewed(month(1))), PAST_DUE, TRIAL]),
        (MailKind.RENEWAL_REMINDER, month(0).end, PAID, [PAID.cancelled(NOW, at_period_end=True)]),
        (MailKind.TRIAL_ENDING, TRIAL_END, TRIAL, [PAID, TRIAL.cancelled(NOW, at_period_end=True)]),
        (MailKind.PAYMENT_FAILED, failure(1).retry_time, PAST_DUE, [merged(PAST_DUE, Renewed(month(1))), PAID]),
        (MailKind.PAYMENT_FAILED, failure(1).retry_time, PAST_DUE, [merged(PAST_DUE, failure(1, attempt=1))]),
        (MailKind.SUBSCRIPTION_EXPIRED, NOW, merged(PAID, Ended(NOW)), [PAID, merged(PAID, Ended(NOW - DAY))]),
    ],
)
def test_an_outdated_mail_is_not_sent(
    kind: MailKind, time: datetime, true_of: Subscription, outdated_for: list[Subscription]
) -> None:
    """A mail is worth sending only while its fact still holds at the time of sending."""
    assert true_of.is_still_true(kind, time, NOW)
    assert not any(each.is_still_true(kind, time, NOW) for each in outdated_for)


@pytest.mark.requirement("J4")
@pytest.mark.parametrize("subscription", [PAST_DUE, merged(PAID, Ended(NOW)), PAID.cancelled(NOW, at_period_end=False)])
def test_no_credits_are_granted_without_a_payment(subscription: Subscription) -> None:
    """A subscription that is past due, expired or cancelled receives no credits."""
    replace(PAID).require_receives_credits(NOW)
    with pytest.raises(SubscriptionNotActive):
        subscription.require_receives_credits(NOW)


def test_a_period_must_end_after_its_start() -> None:
    """A period that is empty or ends before its start raises ValueError."""
    for end in (NOW, NOW - DAY):
        with pytest.raises(ValueError, match="a period must end after its start"):
            Period(NOW, end)
