"""Subscriptions and orders that are stored without a request, and so have no follow-up calls."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from mesh.data.idempotency import KeyedRequest
from services.subscription.domain import new_subscription
from services.subscription.months import add_months
from services.subscription.order import Order
from services.subscription.store import SubscriptionStore
from solo60.subscription.v1.subscription_pb2 import CreateSubscriptionRequest
from tests.services.subscription.subscription_mesh import FOUR_HOURS

if TYPE_CHECKING:
    from services.subscription.domain import Subscription
    from services.subscription.reports import Report
    from tests.support.serving import MeshForTests

MONTH = timedelta(days=31)


async def store_subscription(
    mesh: MeshForTests,
    user_id: str = "",
    plan_id: str = FOUR_HOURS,
    *,
    age: timedelta = timedelta(),
    is_cancelled: bool = False,
    report: Report | None = None,
) -> Subscription:
    """Store a subscription that began before `age`, with a planned or reported change, and return it."""
    store, now = SubscriptionStore(mesh.database("subscription")), mesh.clock.now()
    async with store.transaction() as tx:
        user = UUID(user_id) if user_id else uuid4()
        await tx.lock_user(user)
        new = new_subscription(uuid4(), user, await tx.plan(UUID(plan_id)), now - age)
        await tx.add(new)
        await tx.grants.grant(new, new.first_period.start, now)
        changed = new.cancelled(now, at_period_end=True) if is_cancelled else new
        changed = changed.merged(report) if report else changed
        await tx.save(changed)
    return changed


async def store_order(mesh: MeshForTests) -> str:
    """Store an order that the card processor has not started, and return the id of its subscription."""
    store, now = SubscriptionStore(mesh.database("subscription")), mesh.clock.now()
    async with store.transaction() as tx:
        order = Order(uuid4(), uuid4(), await tx.plan(UUID(FOUR_HOURS)), 0, now)
        await tx.orders.add(order, KeyedRequest("operator", str(uuid4()), CreateSubscriptionRequest(), b"0" * 32))
    return str(order.subscription_id)


def age_at(mesh: MeshForTests, left: timedelta) -> timedelta:
    """Return the age of a subscription whose first month ends in `left`, or has ended if `left` is negative."""
    now = mesh.clock.now()
    start = now + left - MONTH
    while add_months(start, 1) < now + left:
        start += timedelta(days=1)
    return now - start
