from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from services.subscription.app import SERVICE
from solo60.payment.v1.payment_pb2 import GrantCreditsRequest, GrantCreditsResponse
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from solo60.subscription.v1.subscription_pb2 import CreateSubscriptionRequest, SendSubscriptionMailResponse
from solo60.subscription.v1.subscription_pb2_grpc import SubscriptionServiceStub
from solo60.user.v1.user_pb2 import USER_STATE_ACTIVE, GetUserResponse, User
from solo60.user.v1.user_pb2_grpc import UserServiceStub
from tests.services.subscription.subscription_mesh import FOUR_HOURS, GOOD_CARD
from tests.support.settled_messages import DELIVERED, settled

if TYPE_CHECKING:
    from tests.support.consumers import Consume

USER_ID = str(uuid4())


async def test_a_new_subscription_grants_the_credits_of_its_plan(consume: Consume) -> None:
    """CreateSubscription grants the credits of the first month through the outbox."""
    mesh, expectations = await consume(SERVICE)
    user = User(user_id=USER_ID, state=USER_STATE_ACTIVE)
    expectations.fake.of(UserServiceStub).GetUser(answer=GetUserResponse(user=user))
    expectations.fake.of(SubscriptionServiceStub).SendSubscriptionMail(answer=SendSubscriptionMailResponse())
    expectations.later(PaymentServiceStub).given("a user without credits", user_id=USER_ID).GrantCredits(
        request=GrantCreditsRequest(user_id=USER_ID, credits=40), answer=GrantCreditsResponse()
    )

    await mesh.stub(SubscriptionServiceStub).CreateSubscription(
        CreateSubscriptionRequest(user_id=USER_ID, plan_id=FOUR_HOURS, payment_method=GOOD_CARD)
    )

    assert await settled(mesh, "subscription", "GrantCredits") == [DELIVERED]
