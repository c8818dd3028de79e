"""States of the subscription service in which the user service has expectations."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from contracts.errors import InvalidRequest
from tests.services.subscription.subscription_fixture import SubscriptionFixture
from tests.services.subscription.subscription_mesh import event, webhook

if TYPE_CHECKING:
    from tests.support.consumers import States
    from tests.support.serving import MeshForTests


async def a_subscriber(mesh: MeshForTests) -> dict[str, object]:
    """Subscribe a new user, and return the id."""
    subscription = await SubscriptionFixture(mesh.database("subscription")).subscribe_new_user()
    return {"user_id": str(subscription.user_id)}


async def a_held_webhook(mesh: MeshForTests) -> dict[str, object]:
    """Receive an unreadable webhook, which is held, and return the address in it."""
    email = f"{uuid4().hex}@members.example"
    unreadable = event("renewed", str(uuid4()), customer_email=email)
    with pytest.raises(InvalidRequest):
        await SubscriptionFixture(mesh.database("subscription")).deliver(webhook(unreadable))
    return {"email": email}


STATES: States = {
    "a held webhook with this address": a_held_webhook,
    "a subscriber": a_subscriber,
}
