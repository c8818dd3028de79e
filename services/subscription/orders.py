"""Orders in PostgreSQL: subscriptions that the card processor was asked to start and that are not stored yet."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from services.subscription.domain import new_subscription
from services.subscription.rows import plan_of

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    import asyncpg

    from mesh.data.database import Connection
    from mesh.data.idempotency import KeyedRequest
    from services.subscription.domain import Subscription
    from services.subscription.plans import Plan

_FIND = "select * from subscription_orders join plans using (plan_id) where subscription_id = $1 for update"
_FIND_BY_KEY = """
    select * from subscription_orders join plans using (plan_id) where caller = $1 and idempotency_key = $2
"""
_HAS_OPEN = "select exists (select from subscription_orders where user_id = $1)"
_ADD = """
    insert into subscription_orders
        (subscription_id, caller, idempotency_key, user_id, plan_id, trial_days, create_time)
    values ($1, $2, $3, $4, $5, $6, $7)
"""
_DELETE = "delete from subscription_orders where subscription_id = $1"


@dataclass(frozen=True, slots=True)
class Order:
    """Subscription to start. `is_repeated` means that the processor may have started it for an earlier request."""

    subscription_id: UUID
    user_id: UUID
    plan: Plan
    trial_days: int
    create_time: datetime
    is_repeated: bool = False

    @property
    def trial_end(self) -> datetime | None:
        """End of the trial; None without a trial."""
        return self.create_time + timedelta(days=self.trial_days) if self.trial_days else None

    def subscription(self) -> Subscription:
        """Return the new subscription, which begins at the time of the order."""
        return new_subscription(
            self.subscription_id, self.user_id, self.plan, self.create_time, trial_days=self.trial_days
        )


class Orders:
    """Orders, read and written in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def find(self, subscription_id: UUID) -> Order | None:
        """Return an open order, locked until the transaction ends, or None."""
        return _order(await self._connection.fetchrow(_FIND, subscription_id))

    async def find_by_key(self, keyed: KeyedRequest) -> Order | None:
        """Return the open order of an earlier request with the same idempotency key, or None."""
        return _order(await self._connection.fetchrow(_FIND_BY_KEY, keyed.caller, keyed.key))

    async def has_open(self, user_id: UUID) -> bool:
        """Return whether a user has an open order."""
        found: bool = await self._connection.fetchval(_HAS_OPEN, user_id)
        return found

    async def add(self, new: Order, keyed: KeyedRequest) -> None:
        """Add an order. The caller holds the user's lock and has checked that the user has no open order."""
        ids = (new.subscription_id, keyed.caller, keyed.key, new.user_id, new.plan.plan_id)
        await self._connection.execute(_ADD, *ids, new.trial_days, new.create_time)

    async def delete(self, subscription_id: UUID) -> None:
        """Delete a settled order."""
        await self._connection.execute(_DELETE, subscription_id)


def _order(row: asyncpg.Record | None) -> Order | None:
    if row is None:
        return None
    ids = (row["subscription_id"], row["user_id"])
    return Order(*ids, plan_of(row), row["trial_days"], row["create_time"], is_repeated=True)
