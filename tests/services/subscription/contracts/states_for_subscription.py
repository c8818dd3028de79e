"""States of the subscription service in which its own later calls have expectations."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from solo60.user.v1.user_pb2 import CreateUserRequest
from solo60.user.v1.user_pb2_grpc import UserServiceStub
from tests.services.subscription.contracts.stored_subscriptions import age_at, store_order, store_subscription
from tests.services.subscription.subscription_mesh import DAY

if TYPE_CHECKING:
    from services.subscription.domain import Subscription
    from tests.support.consumers import States
    from tests.support.serving import MeshForTests


async def no_subscription(_mesh: MeshForTests) -> dict[str, object]:
    """Return the id of a subscription that does not exist."""
    return {"subscription_id": str(uuid4())}


async def an_open_order(mesh: MeshForTests) -> dict[str, object]:
    """Store an order."""
    return {"subscription_id": await store_order(mesh)}


async def a_cancelled_subscription(mesh: MeshForTests) -> dict[str, object]:
    """Store a subscription that ends with its month."""
    cancelled = await store_subscription(mesh, await _user_id(mesh), is_cancelled=True)
    return {"subscription_id": str(cancelled.subscription_id), "end_time": cancelled.current_period.end}


async def a_subscription_that_renews_in_7_days(mesh: MeshForTests) -> dict[str, object]:
    """Store a subscription three weeks after its beginning."""
    return await _renewing(mesh, 7 * DAY)


async def a_subscription_that_renews_in_3_days(mesh: MeshForTests) -> dict[str, object]:
    """Store a subscription almost a month after its beginning."""
    return await _renewing(mesh, 3 * DAY)


async def a_subscription_whose_month_has_ended(mesh: MeshForTests) -> dict[str, object]:
    """Store a subscription at the end of its month."""
    return await _renewing(mesh, timedelta(seconds=-1))


async def a_subscription_whose_payment_is_late(mesh: MeshForTests) -> dict[str, object]:
    """Store a subscription three days after the end of its month."""
    return await _renewing(mesh, -3 * DAY - timedelta(seconds=1))


async def _renewing(mesh: MeshForTests, left: timedelta) -> dict[str, object]:
    """Store a subscription whose month ends in `left`."""
    found: Subscription = await store_subscription(mesh, await _user_id(mesh), age=age_at(mesh, left))
    return {"subscription_id": str(found.subscription_id), "renewal_time": found.current_period.end}


async def _user_id(mesh: MeshForTests) -> str:
    """Add a user and return the id."""
    request = CreateUserRequest(email=f"{uuid4().hex}@example.org", display_name="Ada Lovelace")
    return (await mesh.stub(UserServiceStub).CreateUser(request)).user.user_id


STATES: States = {
    "a cancelled subscription": a_cancelled_subscription,
    "a subscription that renews in 3 days": a_subscription_that_renews_in_3_days,
    "a subscription that renews in 7 days": a_subscription_that_renews_in_7_days,
    "a subscription whose month has ended": a_subscription_whose_month_has_ended,
    "a subscription whose payment is late": a_subscription_whose_payment_is_late,
    "an open order": an_open_order,
    "no subscription": no_subscription,
}
