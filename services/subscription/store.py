"""Plans, subscriptions and granted periods in PostgreSQL. All changes are transactional."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

from contracts.errors import AlreadySubscribed, PlanNotFound, TrialUsed
from mesh.transaction import Transaction
from services.subscription.grants import Grants
from services.subscription.orders import Orders
from services.subscription.processor_links import ProcessorLinks
from services.subscription.rows import plan_of, range_of, subscription_of

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime
    from uuid import UUID

    from mesh.data.database import Connection, Database
    from services.subscription.domain import Subscription
    from services.subscription.plans import Plan

_FIRST_PLANS = "select * from plans order by minor_units, plan_id limit $1"
_NEXT_PLANS = """
    select * from plans
    where (minor_units, plan_id) > (select minor_units, plan_id from plans where plan_id = $2)
    order by minor_units, plan_id limit $1
"""
_FIND_PLAN = "select * from plans where plan_id = $1"

_FIND = "select * from subscriptions join plans using (plan_id) where subscription_id = $1"
_LOCK = f"{_FIND} for update of subscriptions"
# A user's subscriptions never overlap, so the latest one has no end or the latest end.
_FIND_OF_USER = """
    select * from subscriptions join plans using (plan_id) where user_id = $1
    order by end_time desc nulls first, create_time desc limit 1
"""
# Serializes changes for one user. The exclusion constraint is not enough: concurrent inserts that wait for each other
# in it can deadlock, and PostgreSQL may then abort all but one.
_LOCK_USER = "select pg_advisory_xact_lock(hashtextextended($1::text, 60))"
_ADD = """
    insert into subscriptions
        (subscription_id, user_id, plan_id, first_period, is_trial, paid_period, create_time, watch_time, told_time)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""
_RECORD_TRIAL = "insert into trials (user_id, subscription_id, create_time) values ($1, $2, $3)"
# Replicas of an older version may still run, and they do not write to `trials`.
_HAD_TRIAL = """
    select exists (select from trials where user_id = $1)
        or exists (select from subscriptions where user_id = $1 and is_trial)
"""
_RECORD_DEPARTURE = "insert into left_users (user_id, create_time) values ($1, $2) on conflict do nothing"
_HAS_LEFT = "select exists (select from left_users where user_id = $1)"
_LOCK_OPEN = """
    select * from subscriptions join plans using (plan_id)
    where user_id = $1 and (end_time is null or end_time > $2) for update of subscriptions
"""
_FIND_UNSCHEDULED = "select subscription_id from subscriptions where told_time is null and end_time is null limit $1"
_SAVE = """
    update subscriptions set
        paid_period = $2, failed_period_start = $3, fail_time = $4, retry_time = $5, cancel_time = $6, end_time = $7,
        processor_end_time = $8, told_time = $9
    where subscription_id = $1
"""
_EXISTS = "select exists (select from subscriptions where subscription_id = $1)"


class SubscriptionStore:
    """The plans and subscriptions of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def transaction(self) -> AbstractAsyncContextManager[SubscriptionTransaction]:
        """Begin a transaction, committed at the end of the block."""
        return SubscriptionTransaction.begin(self._database)

    async def list_plans(self, limit: int, *, after: UUID | None) -> list[Plan]:
        """Return at most `limit` plans, cheapest first, from the beginning or after the plan `after`."""
        async with self._database.connection() as connection:
            if after is None:
                rows = await connection.fetch(_FIRST_PLANS, limit)
            else:
                rows = await connection.fetch(_NEXT_PLANS, limit, after)
        return [plan_of(row) for row in rows]

    async def find(self, subscription_id: UUID) -> Subscription:
        """Return a subscription; raise SubscriptionNotFound."""
        async with self._database.connection() as connection:
            return subscription_of(await connection.fetchrow(_FIND, subscription_id))

    async def find_unscheduled(self, limit: int) -> list[UUID]:
        """Return at most `limit` ids of subscriptions that an older version stored without scheduled deadlines."""
        async with self._database.connection() as connection:
            return [row["subscription_id"] for row in await connection.fetch(_FIND_UNSCHEDULED, limit)]

    async def find_of_user(self, user_id: UUID) -> Subscription:
        """Return a user's subscription without an end, or else the latest one; raise SubscriptionNotFound."""
        async with self._database.connection() as connection:
            return subscription_of(await connection.fetchrow(_FIND_OF_USER, user_id))


class SubscriptionTransaction(Transaction):
    """Subscriptions, read and written in one transaction."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.grants = Grants(connection)
        self.links = ProcessorLinks(connection)
        self.orders = Orders(connection)

    async def plan(self, plan_id: UUID) -> Plan:
        """Return a plan; raise PlanNotFound."""
        row = await self.connection.fetchrow(_FIND_PLAN, plan_id)
        if row is None:
            raise PlanNotFound
        return plan_of(row)

    async def lock(self, subscription_id: UUID) -> Subscription:
        """Return a subscription, locked until the transaction ends; raise SubscriptionNotFound."""
        return subscription_of(await self.connection.fetchrow(_LOCK, subscription_id))

    async def lock_user(self, user_id: UUID) -> None:
        """Acquire the lock for changes of this user's subscriptions, and hold it until the transaction ends."""
        await self.connection.execute(_LOCK_USER, str(user_id))

    async def lock_open(self, user_id: UUID, now: datetime) -> list[Subscription]:
        """Return and lock a user's subscriptions without an end or with an end after `now`."""
        return [subscription_of(row) for row in await self.connection.fetch(_LOCK_OPEN, user_id, now)]

    async def had_trial(self, user_id: UUID) -> bool:
        """Return whether a user has or had a trial."""
        found: bool = await self.connection.fetchval(_HAD_TRIAL, user_id)
        return found

    async def record_departure(self, user_id: UUID, now: datetime) -> None:
        """Record that a user has left permanently."""
        await self.connection.execute(_RECORD_DEPARTURE, user_id, now)

    async def has_left(self, user_id: UUID) -> bool:
        """Return whether a user has left permanently."""
        found: bool = await self.connection.fetchval(_HAS_LEFT, user_id)
        return found

    async def add(self, new: Subscription) -> None:
        """Add a subscription. The caller holds the user's lock (`lock_user`).

        Raises AlreadySubscribed if the user has a subscription that overlaps it, and TrialUsed for a second trial.
        """
        ids, periods = (new.subscription_id, new.user_id, new.plan.plan_id), (range_of(new.first_period), new.is_trial)
        times = (range_of(new.paid_period), new.create_time, new.watch_time, new.processed_deadline)
        try:
            await self.connection.execute(_ADD, *ids, *periods, *times)
            if new.is_trial:
                await self.connection.execute(_RECORD_TRIAL, new.user_id, new.subscription_id, new.create_time)
        except asyncpg.ExclusionViolationError:
            raise AlreadySubscribed from None
        except asyncpg.UniqueViolationError:
            raise TrialUsed from None

    async def save(self, changed: Subscription) -> None:
        """Save the facts of a locked subscription that can change."""
        failure = changed.failure
        await self.connection.execute(
            _SAVE,
            changed.subscription_id,
            range_of(changed.paid_period),
            failure.period_start if failure else None,
            failure.occur_time if failure else None,
            failure.retry_time if failure else None,
            changed.cancel_time,
            changed.end_time,
            changed.processor_end_time,
            changed.processed_deadline,
        )

    async def exists(self, subscription_id: UUID) -> bool:
        """Return whether a subscription with this id exists."""
        found: bool = await self.connection.fetchval(_EXISTS, subscription_id)
        return found
