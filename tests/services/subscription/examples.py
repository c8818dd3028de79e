"""Examples: a subscription, and the reports about it over half a year."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from services.subscription.domain import Subscription, new_subscription
from services.subscription.plans import Plan
from services.subscription.reports import Ended, PaymentFailed, Period, Renewed, Report, TrialEnding

NOW = datetime(2026, 11, 26, 18, tzinfo=UTC)
PLAN = Plan(UUID(int=10), "Ten hours", "GBP", 8900, 100, 14)
DAY = timedelta(days=1)
TRIAL = new_subscription(UUID(int=1), UUID(int=2), PLAN, NOW)
PAID_AT_ONCE = new_subscription(UUID(int=1), UUID(int=2), PLAN, NOW, trial_days=0)
TRIAL_END = NOW + 14 * DAY


def month(number: int) -> Period:
    """Return the paid period with this number after the trial, counted from 0."""
    return Period(
        datetime(2026 + (11 + number) // 12, (11 + number) % 12 + 1, 10, 18, tzinfo=UTC),
        datetime(2026 + (12 + number) // 12, (12 + number) % 12 + 1, 10, 18, tzinfo=UTC),
    )


def failure(number: int, attempt: int = 0) -> PaymentFailed:
    """Return a failed attempt to charge for a period. The next attempt follows three days later."""
    occur_time = month(number).start + 3 * attempt * DAY
    return PaymentFailed(month(number).start, occur_time, occur_time + 3 * DAY)


# A trial, the first month paid at the second attempt, the second month paid at once, the third month never paid.
ENDED_LIFE: tuple[Report, ...] = (
    TrialEnding(),
    failure(0),
    Renewed(month(0)),
    Renewed(month(1)),
    failure(2),
    failure(2, attempt=1),
    Ended(month(2).start + 7 * DAY),
    Ended(month(2).start + 8 * DAY),
)
# The same reports without the end. The third month is paid, and a failure for the second is reported late.
ACTIVE_LIFE: tuple[Report, ...] = (*ENDED_LIFE[:6], Renewed(month(2)), failure(1))


def merged(subscription: Subscription, *reports: Report) -> Subscription:
    """Merge the reports into a subscription in this order, and return the result."""
    for report in reports:
        subscription = subscription.merged(report)
    return subscription
