from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from contracts.errors import InvalidRequest, UserNotActive
from services.subscription.domain import SubscriptionStatus
from solo60.subscription.v1.subscription_pb2 import (
    SUBSCRIPTION_MAIL_SUBSCRIPTION_ACTIVATED,
    OnUserLeftRequest,
    SendSubscriptionMailRequest,
)
from solo60.user.v1.events_pb2 import UserLeft
from solo60.user.v1.user_pb2 import USER_STATE_DELETED, UpdateUserRequest, User
from tests.services.subscription.subscription_mesh import TEN_HOURS, event, month_after, webhook
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from tests.services.subscription.subscription_fixture import SubscriptionFixture
    from tests.services.subscription.subscription_mesh import SubscriptionMesh


async def delete_user(mesh: SubscriptionMesh, user_id: str) -> None:
    """Delete a user at the user service."""
    left = User(user_id=user_id, state=USER_STATE_DELETED)
    await mesh.users.UpdateUser(UpdateUserRequest(user=left, update_mask=FieldMask(paths=["state"])))


async def test_deleting_a_user_ends_the_subscription_and_its_mails(mesh: SubscriptionMesh) -> None:
    """A deleted user's subscription is cancelled, and no further mail is sent to that user."""
    new, other = await mesh.subscribe(TEN_HOURS), await mesh.subscribe()
    before = await mesh.mails()

    await delete_user(mesh, new.user_id)

    async def has_ended() -> bool:
        return await mesh.status(new) == "CANCELLED"

    await eventually(has_ended)
    assert await mesh.status(other) == "ACTIVE"
    assert len(await mesh.reminders()) == 2
    welcome = SendSubscriptionMailRequest(
        subscription_id=new.subscription_id, mail=SUBSCRIPTION_MAIL_SUBSCRIPTION_ACTIVATED, time=new.create_time
    )
    assert not (await mesh.subscriptions.SendSubscriptionMail(welcome)).sent
    await mesh.deliver(webhook(event("renewed", new, period=month_after(new))))
    assert await mesh.status(new) == "CANCELLED"
    assert await mesh.mails() == before
    assert await mesh.fetch("subscription", "select 1 from outbox where cancel_key ~ $1", new.subscription_id) == []


async def test_a_user_left_event_may_repeat_or_name_any_user(mesh: SubscriptionMesh) -> None:
    """Repeated events and unknown users are accepted, and an event without a valid user id is rejected."""
    new = await mesh.subscribe()
    for user_id in (new.user_id, new.user_id, str(uuid4())):
        await mesh.subscriptions.OnUserLeft(OnUserLeftRequest(event=UserLeft(user_id=user_id)))

    assert await mesh.status(new) == "CANCELLED"
    for bad in (OnUserLeftRequest(), OnUserLeftRequest(event=UserLeft(user_id="1"))):
        with pytest.raises(InvalidRequest):
            await mesh.subscriptions.OnUserLeft(bad)


async def test_a_deleted_user_cannot_be_subscribed(fixture: SubscriptionFixture) -> None:
    """Subscribing a deleted user raises UserNotActive, even if the call found the user active before."""
    new = await fixture.subscribe_new_user()
    async with fixture.store.transaction() as tx:
        await fixture.commands.end_for_departed_user(tx, new.user_id)

    with pytest.raises(UserNotActive):
        await fixture.subscribe_user(new.user_id)

    assert (await fixture.store.find(new.subscription_id)).status(fixture.now) is SubscriptionStatus.CANCELLED
