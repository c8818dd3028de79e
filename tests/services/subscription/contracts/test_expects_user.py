from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from contracts.errors import UserNotActive, UserNotFound
from services.subscription.app import SERVICE
from solo60.communication.v1.communication_pb2 import Recipient, SendEmailAsyncRequest, SendEmailAsyncResponse
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub
from solo60.payment.v1.payment_pb2 import GrantCreditsResponse
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from solo60.subscription.v1.subscription_pb2 import (
    SUBSCRIPTION_MAIL_SUBSCRIPTION_ACTIVATED,
    CreateSubscriptionRequest,
    SendSubscriptionMailRequest,
    SendSubscriptionMailResponse,
)
from solo60.subscription.v1.subscription_pb2_grpc import SubscriptionServiceStub
from solo60.user.v1.user_pb2 import (
    USER_STATE_ACTIVE,
    USER_STATE_DELETED,
    USER_STATE_SUSPENDED,
    GetUserRequest,
    GetUserResponse,
    User,
    UserState,
)
from solo60.user.v1.user_pb2_grpc import UserServiceStub
from tests.services.subscription.contracts.stored_subscriptions import store_subscription
from tests.services.subscription.subscription_mesh import FOUR_HOURS, GOOD_CARD

if TYPE_CHECKING:
    from services.subscription.domain import Subscription
    from tests.support.consumers import Consume
    from tests.support.serving import MeshForTests

USER_ID = str(uuid4())
REQUEST = GetUserRequest(user_id=USER_ID)
SUBSCRIBE = CreateSubscriptionRequest(user_id=USER_ID, plan_id=FOUR_HOURS, payment_method=GOOD_CARD)


def user_in(state: UserState.ValueType, **fields: Any) -> GetUserResponse:
    """Return the answer of the user service about a user in this state."""
    return GetUserResponse(user=User(user_id=USER_ID, state=state, **fields))


async def test_an_active_user_subscribes(consume: Consume) -> None:
    """CreateSubscription accepts a user who is active."""
    mesh, expectations = await consume(SERVICE)
    users = expectations.of(UserServiceStub).given("an active user", user_id=USER_ID)
    users.GetUser(request=REQUEST, answer=user_in(USER_STATE_ACTIVE))
    expectations.fake.of(PaymentServiceStub).GrantCredits(answer=GrantCreditsResponse(credits=40))
    expectations.fake.of(SubscriptionServiceStub).SendSubscriptionMail(answer=SendSubscriptionMailResponse())

    subscribed = await mesh.stub(SubscriptionServiceStub).CreateSubscription(SUBSCRIBE)

    assert subscribed.subscription.user_id == USER_ID


async def test_a_suspended_user_cannot_subscribe(consume: Consume) -> None:
    """CreateSubscription fails with USER_NOT_ACTIVE for a suspended user."""
    mesh, expectations = await consume(SERVICE)
    users = expectations.of(UserServiceStub).given("a suspended user", user_id=USER_ID)
    users.GetUser(request=REQUEST, answer=user_in(USER_STATE_SUSPENDED))

    with pytest.raises(UserNotActive):
        await mesh.stub(SubscriptionServiceStub).CreateSubscription(SUBSCRIBE)


async def test_an_unknown_user_cannot_subscribe(consume: Consume) -> None:
    """CreateSubscription passes on USER_NOT_FOUND."""
    mesh, expectations = await consume(SERVICE)
    expectations.of(UserServiceStub).given("no user", user_id=USER_ID).GetUser(request=REQUEST, error=UserNotFound())

    with pytest.raises(UserNotFound):
        await mesh.stub(SubscriptionServiceStub).CreateSubscription(SUBSCRIBE)


async def test_a_mail_goes_to_the_address_and_shows_times_in_the_time_zone_of_the_user(consume: Consume) -> None:
    """SendSubscriptionMail sends to the user's address, with the user's name and local times."""
    mesh, expectations = await consume(SERVICE)
    found = user_in(
        USER_STATE_ACTIVE, email="ada@example.org", display_name="Ada Lovelace", time_zone="America/New_York"
    )
    users = expectations.of(UserServiceStub).given("an active user in New York", user_id=USER_ID)
    users.GetUser(request=REQUEST, answer=found)
    recipient = Recipient(email="ada@example.org", display_name="Ada Lovelace", user_id=USER_ID)
    sending = expectations.fake.of(CommunicationServiceStub).SendEmailAsync(
        request=SendEmailAsyncRequest(recipient=recipient), answer=SendEmailAsyncResponse(message_id=str(uuid4()))
    )

    assert await send_mail(mesh, await store_subscription(mesh, USER_ID))

    (sent,) = expectations.fake.calls_of(sending)[0].requests
    assert isinstance(sent, SendEmailAsyncRequest)
    assert sent.variables["end_time"].endswith("(America/New_York)")


async def test_a_user_who_has_left_gets_no_mail(consume: Consume) -> None:
    """SendSubscriptionMail sends nothing to a user who has left."""
    mesh, expectations = await consume(SERVICE)
    users = expectations.of(UserServiceStub).given("a user who has left", user_id=USER_ID)
    users.GetUser(request=REQUEST, answer=user_in(USER_STATE_DELETED))

    assert not await send_mail(mesh, await store_subscription(mesh, USER_ID))


async def test_an_unknown_user_gets_no_mail(consume: Consume) -> None:
    """SendSubscriptionMail does not fail for an unknown user, so that its message does not become a dead letter."""
    mesh, expectations = await consume(SERVICE)
    expectations.of(UserServiceStub).given("no user", user_id=USER_ID).GetUser(request=REQUEST, error=UserNotFound())

    assert not await send_mail(mesh, await store_subscription(mesh, USER_ID))


async def send_mail(mesh: MeshForTests, subscription: Subscription) -> bool:
    """Send the first mail about a subscription, and return whether it was sent."""
    request = SendSubscriptionMailRequest(
        subscription_id=str(subscription.subscription_id), mail=SUBSCRIPTION_MAIL_SUBSCRIPTION_ACTIVATED
    )
    request.time.FromDatetime(subscription.create_time)
    return (await mesh.stub(SubscriptionServiceStub).SendSubscriptionMail(request)).sent
