"""Granted billing periods in PostgreSQL, and the expiry of their credits. Each period grants its credits once."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from services.subscription.months import add_months, month_of

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from mesh.data.database import Connection
    from services.subscription.domain import Subscription

# Shortest lifetime of granted credits: a period may be granted late, for example after a month of downtime.
MINIMUM_LIFETIME = timedelta(days=30)

# Replicas of an older version may still run and grant by calendar month. A row from such a replica counts as the grant
# of one period in that month.
_IS_GRANTED = """
    select exists (select from granted_periods where subscription_id = $1 and period_start = $2)
        or exists (select from granted_months where subscription_id = $1 and month = $3 and not is_copy and $4)
"""
_GRANT = """
    with copy as (
        insert into granted_months (subscription_id, month, credits, create_time, is_copy)
        values ($1, $2, $4, $5, true) on conflict do nothing
    )
    insert into granted_periods (subscription_id, period_start, credits, create_time) values ($1, $3, $4, $5)
"""
_CREDITS_OF_MONTH = """
    select coalesce(sum(credits), 0)::bigint from (
        select credits from granted_periods
        where subscription_id = $1 and to_char(period_start at time zone 'UTC', 'YYYY-MM') = $2
        union all
        select credits from granted_months where subscription_id = $1 and month = $2 and not is_copy
    ) as granted
"""


class Grants:
    """Granted billing periods, read and written in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def credits_of_month(self, subscription_id: UUID, month: str) -> int:
        """Return the total credits of granted periods that began in `month` ("2026-11")."""
        found: int = await self._connection.fetchval(_CREDITS_OF_MONTH, subscription_id, month)
        return found

    async def is_granted(self, subscription: Subscription, period_start: datetime) -> bool:
        """Return whether the credits of a billing period are granted."""
        month = month_of(period_start)
        # An older version's row for the subscription's first month is always the grant of the first period. Such a row
        # does not count for a second period in the same month.
        is_first = period_start == subscription.first_period.start
        counts_month_row = is_first or month != month_of(subscription.first_period.start)
        found: bool = await self._connection.fetchval(
            _IS_GRANTED, subscription.subscription_id, period_start, month, counts_month_row
        )
        return found

    async def grant(self, subscription: Subscription, period_start: datetime, now: datetime) -> bool:
        """Record the grant of a billing period; return False if it was recorded before.

        The caller holds the lock on the subscription.
        """
        if await self.is_granted(subscription, period_start):
            return False
        period = (subscription.subscription_id, month_of(period_start), period_start)
        await self._connection.execute(_GRANT, *period, subscription.plan.credits_per_month, now)
        return True


def expire_time_of(subscription: Subscription, period_start: datetime, now: datetime) -> datetime:
    """Return the expiry of a billing period's credits that are granted at `now`.

    They expire at the end of the following period, and live for at least 30 days. The credits of a trial expire at the
    end of the first paid month.
    """
    first = subscription.first_period
    if subscription.is_trial and period_start == first.start:
        end_of_following = add_months(first.end, 1)
    else:
        first_paid = first.end if subscription.is_trial else first.start
        end_of_following = add_months(period_start, 2, anchor_day=first_paid.day)
    return max(end_of_following, now + MINIMUM_LIFETIME)
