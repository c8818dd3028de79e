"""Deadlines: the times at which the clock alone changes a subscription whose payment nobody reports."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from services.subscription.reports import PaymentFailed

# The card processor repeats a webhook for three days.
GRACE = timedelta(days=3)
# The card processor tries a card again for two weeks, and says when.
PAST_DUE_FOR = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Deadlines:
    """From `past_due` on a period counts as not paid, and from `expired` on the subscription is over."""

    past_due: datetime
    expired: datetime


def deadlines_after(period_end: datetime, failure: PaymentFailed | None) -> Deadlines:
    """Return the deadlines of a payment that is due when a period ends; `failure` is the last attempt to charge for it.

    An attempt that the card processor still has before it is waited for.
    """
    past_due = period_end + GRACE
    expired = past_due + PAST_DUE_FOR
    if failure is not None:
        expired = max(expired, (failure.retry_time or failure.occur_time) + GRACE)
    return Deadlines(past_due, expired)
