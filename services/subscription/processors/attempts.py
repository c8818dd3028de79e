"""Attempts to charge a card in test mode: their times and outcomes, computed from the facts of a subscription."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from services.subscription.months import add_months
from services.subscription.reports import Ended, PaymentFailed, Period, Renewed

if TYPE_CHECKING:
    from datetime import datetime

    from services.subscription.domain import Subscription
    from services.subscription.reports import Report

# Days between two attempts, as in Stripe's custom schedule of retries. After the last one, the subscription ends.
RETRY_PAUSES = (timedelta(days=3), timedelta(days=5), timedelta(days=7))


@dataclass(frozen=True, slots=True)
class Attempt:
    """Charge at `time` for the period that begins at `period_start`. `is_end` means that no attempt is left."""

    time: datetime
    period_start: datetime
    is_end: bool = False


def next_attempt(subscription: Subscription) -> Attempt | None:
    """Return the next attempt to charge for the period after the current one; None if the subscription has an end."""
    if subscription.end_time is not None:
        return None
    period_start, failure = subscription.current_period.end, subscription.open_failure
    time = period_start if failure is None else failure.retry_time or failure.occur_time
    return Attempt(time, period_start, is_end=failure is not None and failure.retry_time is None)


def report_of(attempt: Attempt, subscription: Subscription, *, is_declined: bool) -> Report:
    """Return the report of the card processor about an attempt."""
    if attempt.is_end:
        return Ended(attempt.time)
    if not is_declined:
        return Renewed(next_period(subscription))
    return PaymentFailed(attempt.period_start, attempt.time, _retry_time(attempt))


def next_period(subscription: Subscription) -> Period:
    """Return the billing period after the current one. All begin on the same day, or on the last of a shorter month."""
    first, start = subscription.first_period, subscription.current_period.end
    anchor_day = (first.end if subscription.is_trial else first.start).day
    return Period(start, add_months(start, 1, anchor_day=anchor_day))


def _retry_time(attempt: Attempt) -> datetime | None:
    """Return the time of the attempt after `attempt`; None if it is the last one."""
    planned = attempt.period_start
    for pause in RETRY_PAUSES:
        planned += pause
        if planned > attempt.time:
            return planned
    return None
