"""Payment deadlines: without a reported payment, a subscription becomes past due and then expires."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from services.subscription.reports import PaymentFailed

# The card processor redelivers a webhook for up to three days.
GRACE_PERIOD = timedelta(days=3)
# The card processor retries a card for two weeks, and reports the time of each next attempt.
PAST_DUE_PERIOD = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Deadlines of one payment: the subscription is past due from `past_due` on, and over from `expired` on."""

    past_due: datetime
    expired: datetime


def deadlines_after(period_end: datetime, failure: PaymentFailed | None) -> Deadlines:
    """Return the deadlines of the payment due at `period_end`; `failure` is the last failed charge for it.

    `expired` is at least `GRACE_PERIOD` after the card processor's next attempt, or after the failure if there is none.
    """
    past_due = period_end + GRACE_PERIOD
    expired = past_due + PAST_DUE_PERIOD
    if failure is not None:
        expired = max(expired, (failure.retry_time or failure.occur_time) + GRACE_PERIOD)
    return Deadlines(past_due, expired)
