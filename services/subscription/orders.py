"""Orders in PostgreSQL: subscriptions that the card processor was asked to start and that are not stored yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.errors import IdempotencyKeyReused
from services.subscription.rows import order_of

if TYPE_CHECKING:
    from uuid import UUID

    from mesh.data.database import Connection
    from mesh.data.idempotency import KeyedRequest
    from services.subscription.order import Order

_FIND = "select * from subscription_orders join plans using (plan_id) where subscription_id = $1 for update"
_FIND_BY_KEY = """
    select * from subscription_orders join plans using (plan_id) where caller = $1 and idempotency_key = $2
"""
_HAS_OPEN = "select exists (select from subscription_orders where user_id = $1)"
_ADD = """
    insert into subscription_orders
        (subscription_id, caller, idempotency_key, request_sha256, user_id, plan_id, trial_days, create_time)
    values ($1, $2, $3, $4, $5, $6, $7, $8)
"""
_DELETE = "delete from subscription_orders where subscription_id = $1"


class Orders:
    """Orders, read and written in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def find(self, subscription_id: UUID) -> Order | None:
        """Return an open order, locked until the transaction ends, or None."""
        return order_of(await self._connection.fetchrow(_FIND, subscription_id))

    async def find_by_key(self, keyed: KeyedRequest) -> Order | None:
        """Return the open order of an earlier request with the same idempotency key, or None.

        Raises IdempotencyKeyReused if the earlier request was a different one.
        """
        row = await self._connection.fetchrow(_FIND_BY_KEY, keyed.caller, keyed.key)
        if row is not None and row["request_sha256"] != keyed.sha256:
            raise IdempotencyKeyReused
        return order_of(row)

    async def has_open(self, user_id: UUID) -> bool:
        """Return whether a user has an open order."""
        found: bool = await self._connection.fetchval(_HAS_OPEN, user_id)
        return found

    async def add(self, new: Order, keyed: KeyedRequest) -> None:
        """Add an order. The caller holds the user's lock and has checked that the user has no open order."""
        given = (new.user_id, new.plan.plan_id, new.trial_days, new.create_time)
        await self._connection.execute(_ADD, new.subscription_id, keyed.caller, keyed.key, keyed.sha256, *given)

    async def delete(self, subscription_id: UUID) -> None:
        """Delete a settled order."""
        await self._connection.execute(_DELETE, subscription_id)
