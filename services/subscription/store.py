"""Store: plans, subscriptions and granted periods in PostgreSQL, changed only by whole transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import asyncpg

from contracts.errors import AlreadySubscribed, PlanNotFound, SubscriptionNotFound
from services.subscription.domain import Plan, Subscription, month_of
from services.subscription.reports import PaymentFailed, Period

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime
    from uuid import UUID

    from mesh.database import Connection, Database

T = TypeVar("T")

_FIRST_PLANS = "select * from plans order by minor_units, plan_id limit $1"
_NEXT_PLANS = """
    select * from plans
    where (minor_units, plan_id) > (select minor_units, plan_id from plans where plan_id = $2)
    order by minor_units, plan_id limit $1
"""
_FIND_PLAN = "select * from plans where plan_id = $1"

_FIND = "select * from subscriptions join plans using (plan_id) where subscription_id = $1"
_LOCK = f"{_FIND} for update of subscriptions"
# Of those of one user that overlap in no instant, the one that ends last or never.
_FIND_OF_USER = """
    select * from subscriptions join plans using (plan_id) where user_id = $1
    order by end_time desc nulls first, create_time desc limit 1
"""
# Whoever subscribes a user waits here for who else does. The constraint is no queue: of many inserts that wait for each
# other in it, all but one may end as victims of a deadlock.
_QUEUE_FOR_USER = "select pg_advisory_xact_lock(hashtextextended($1::text, 60))"
_ADD = """
    insert into subscriptions
        (subscription_id, user_id, plan_id, first_period, is_trial, paid_period, create_time)
    values ($1, $2, $3, $4, $5, $6, $7)
"""
_CHANGE = """
    update subscriptions set
        paid_period = $2, failed_period_start = $3, fail_time = $4, retry_time = $5, cancel_time = $6, end_time = $7
    where subscription_id = $1
"""
# An older version that still runs beside this one grants by month. A month of its own stands for one period.
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
_EXISTS = "select exists (select from subscriptions where subscription_id = $1)"
_LINKED = "select subscription_id from processor_subscriptions where processor_id = $1"
_IS_FOREIGN = """
    select exists (select from processor_subscriptions where processor_id = $1 and subscription_id is null)
"""
_NOTE_FOREIGN = """
    insert into processor_subscriptions (processor_id, create_time) values ($1, $2) on conflict do nothing
"""
_LINK = """
    insert into processor_subscriptions as link (processor_id, subscription_id, create_time) values ($1, $2, $3)
    on conflict (processor_id) do update
        set subscription_id = excluded.subscription_id, create_time = excluded.create_time
    where link.subscription_id is distinct from excluded.subscription_id
    returning true
"""
_CREDITS_OF_MONTH = """
    select coalesce(sum(credits), 0)::bigint from (
        select credits from granted_periods
        where subscription_id = $1 and to_char(period_start at time zone 'UTC', 'YYYY-MM') = $2
        union all
        select credits from granted_months where subscription_id = $1 and month = $2 and not is_copy
    ) as granted
"""


class SubscriptionStore:
    """The plans and subscriptions of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run(self, work: Callable[[Register], Awaitable[T]]) -> T:
        """Do `work` in one transaction, and again when it lost to a concurrent one; return what it returns."""
        return await self._database.run(lambda connection: work(Register(connection)))

    async def list_plans(self, limit: int, *, after: UUID | None) -> list[Plan]:
        """Return the cheapest plans, or those that follow a known one."""
        async with self._database.connection() as connection:
            if after is None:
                rows = await connection.fetch(_FIRST_PLANS, limit)
            else:
                rows = await connection.fetch(_NEXT_PLANS, limit, after)
        return [_plan(row) for row in rows]

    async def find(self, subscription_id: UUID) -> Subscription:
        """Return the subscription with this id; raise SubscriptionNotFound."""
        async with self._database.connection() as connection:
            return _subscription(await connection.fetchrow(_FIND, subscription_id))

    async def find_of_user(self, user_id: UUID) -> Subscription:
        """Return a user's subscription that has no end, or the latest one; raise SubscriptionNotFound."""
        async with self._database.connection() as connection:
            return _subscription(await connection.fetchrow(_FIND_OF_USER, user_id))


class Register:
    """The subscriptions within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    async def plan(self, plan_id: UUID) -> Plan:
        """Return a plan; raise PlanNotFound."""
        row = await self.connection.fetchrow(_FIND_PLAN, plan_id)
        if row is None:
            raise PlanNotFound
        return _plan(row)

    async def lock(self, subscription_id: UUID) -> Subscription:
        """Return a subscription, and keep everyone else from changing it until the end; raise SubscriptionNotFound."""
        return _subscription(await self.connection.fetchrow(_LOCK, subscription_id))

    async def add(self, new: Subscription) -> None:
        """Add a subscription; raise AlreadySubscribed when its user has one that has not ended by then."""
        await self.connection.execute(_QUEUE_FOR_USER, str(new.user_id))
        terms = (_range(new.first_period), new.is_trial, _range(new.paid_period), new.create_time)
        try:
            await self.connection.execute(_ADD, new.subscription_id, new.user_id, new.plan.plan_id, *terms)
        except asyncpg.ExclusionViolationError:
            raise AlreadySubscribed from None

    async def save(self, changed: Subscription) -> None:
        """Keep what is known of a locked subscription."""
        failure = changed.failure
        await self.connection.execute(
            _CHANGE,
            changed.subscription_id,
            _range(changed.paid_period),
            failure.period_start if failure else None,
            failure.occur_time if failure else None,
            failure.retry_time if failure else None,
            changed.cancel_time,
            changed.end_time,
        )

    async def exists(self, subscription_id: UUID) -> bool:
        """Tell whether there is a subscription with this id."""
        found: bool = await self.connection.fetchval(_EXISTS, subscription_id)
        return found

    async def linked(self, processor_id: str) -> UUID | None:
        """Return our id of a subscription at the card processor; None if nobody has told it yet."""
        found: UUID | None = await self.connection.fetchval(_LINKED, processor_id)
        return found

    async def is_foreign(self, processor_id: str) -> bool:
        """Tell whether an operator has said that a subscription at the card processor is none of ours."""
        found: bool = await self.connection.fetchval(_IS_FOREIGN, processor_id)
        return found

    async def note_foreign(self, processor_id: str, now: datetime) -> None:
        """Note that a subscription at the card processor is none of ours, unless it is known to be one."""
        await self.connection.execute(_NOTE_FOREIGN, processor_id, now)

    async def link(self, processor_id: str, subscription_id: UUID, now: datetime) -> bool:
        """Note which subscription of ours one at the card processor is; False if that was known."""
        return bool(await self.connection.fetchval(_LINK, processor_id, subscription_id, now))

    async def credits_of_month(self, subscription_id: UUID, month: str) -> int:
        """Return the credits of all granted periods that began in a month ("2026-11")."""
        found: int = await self.connection.fetchval(_CREDITS_OF_MONTH, subscription_id, month)
        return found

    async def is_granted(self, subscription: Subscription, period_start: datetime) -> bool:
        """Tell whether the credits of a billing period are granted."""
        month = month_of(period_start)
        # In its first month, an older version granted the credits of the first period.
        is_first = period_start == subscription.first_period.start
        is_month_its_own = is_first or month != month_of(subscription.first_period.start)
        found: bool = await self.connection.fetchval(
            _IS_GRANTED, subscription.subscription_id, period_start, month, is_month_its_own
        )
        return found

    async def grant(self, subscription: Subscription, period_start: datetime, now: datetime) -> bool:
        """Note that a locked subscription is granted the credits of a billing period; False if it was before."""
        if await self.is_granted(subscription, period_start):
            return False
        period = (subscription.subscription_id, month_of(period_start), period_start)
        await self.connection.execute(_GRANT, *period, subscription.plan.credits_per_month, now)
        return True


def _range(period: Period | None) -> asyncpg.Range[datetime] | None:
    return asyncpg.Range(period.start, period.end) if period else None


def _plan(row: asyncpg.Record) -> Plan:
    return Plan(
        plan_id=row["plan_id"],
        name=row["name"],
        currency=row["currency"],
        minor_units=row["minor_units"],
        credits_per_month=row["credits_per_month"],
        trial_days=row["trial_days"],
    )


def _subscription(row: asyncpg.Record | None) -> Subscription:
    if row is None:
        raise SubscriptionNotFound
    paid, failed = row["paid_period"], row["fail_time"]
    return Subscription(
        subscription_id=row["subscription_id"],
        user_id=row["user_id"],
        plan=_plan(row),
        first_period=Period(row["first_period"].lower, row["first_period"].upper),
        is_trial=row["is_trial"],
        create_time=row["create_time"],
        paid_period=Period(paid.lower, paid.upper) if paid else None,
        failure=PaymentFailed(row["failed_period_start"], failed, row["retry_time"]) if failed else None,
        cancel_time=row["cancel_time"],
        end_time=row["end_time"],
    )
