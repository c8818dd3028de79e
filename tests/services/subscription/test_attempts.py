"""Attempts to charge a card in test mode, computed from the facts of a subscription."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from services.subscription.domain import Subscription, new_subscription
from services.subscription.months import days_in_month
from services.subscription.processors.attempts import next_attempt, next_period, report_of
from services.subscription.reports import Ended, PaymentFailed, Renewed
from tests.services.subscription.examples import DAY, PAID_AT_ONCE, PLAN, TRIAL, TRIAL_END

STARTS = st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - Hypothesis adds the zone


def after_next(subscription: Subscription, *, is_declined: bool) -> Subscription:
    """Return the subscription after its next attempt."""
    attempt = next_attempt(subscription)
    assert attempt is not None
    return subscription.merged(report_of(attempt, subscription, is_declined=is_declined))


def test_a_declined_card_is_tried_three_more_times() -> None:
    """A charge that fails at the end of a trial is repeated 3, 5 and 7 days after the attempt before, then it ends."""
    subscription, times = TRIAL, []
    for _ in range(5):
        attempt = next_attempt(subscription)
        assert attempt is not None
        report = report_of(attempt, subscription, is_declined=True)
        times.append((type(report), (attempt.time - TRIAL_END).days))
        subscription = subscription.merged(report)

    assert times == [(PaymentFailed, 0), (PaymentFailed, 3), (PaymentFailed, 8), (PaymentFailed, 15), (Ended, 15)]
    assert next_attempt(subscription) is None


def test_a_late_payment_does_not_move_the_period() -> None:
    """A charge that succeeds at a later attempt pays the period from its planned start."""
    failed = after_next(PAID_AT_ONCE, is_declined=True)

    paid = after_next(failed, is_declined=False)

    assert paid.current_period.start == PAID_AT_ONCE.current_period.end
    assert paid.open_failure is None


def test_a_subscription_with_an_end_is_not_charged() -> None:
    """A cancelled subscription has no next attempt, and a resumed one has the same as before."""
    cancelled = TRIAL.cancelled(TRIAL_END - DAY, at_period_end=True)

    assert next_attempt(cancelled) is None
    assert next_attempt(cancelled.resumed(TRIAL_END - DAY)) == next_attempt(TRIAL)


@given(STARTS, st.sampled_from([0, 14, 90]), st.integers(min_value=1, max_value=30))
def test_periods_follow_each_other_and_keep_their_day(start: datetime, trial_days: int, count: int) -> None:
    """Periods follow each other without a gap, on the day of the first one or the last day of a shorter month."""
    subscription = new_subscription(
        PAID_AT_ONCE.subscription_id, PAID_AT_ONCE.user_id, PLAN, start, trial_days=trial_days
    )
    anchor = subscription.first_period.end if trial_days else subscription.first_period.start

    for _ in range(count):
        period = next_period(subscription)
        assert period.start == subscription.current_period.end
        assert period.end.day == min(anchor.day, days_in_month(period.end.year, period.end.month))
        assert period.end.time() == anchor.time()
        subscription = subscription.merged(Renewed(period))
