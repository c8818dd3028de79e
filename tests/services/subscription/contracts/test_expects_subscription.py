from __future__ import annotations

import socket
from datetime import UTC, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from pydantic import SecretStr

from contracts.errors import SubscriptionNotFound, Unavailable
from services.subscription.app import SERVICE
from solo60.payment.v1.payment_pb2 import GrantCreditsResponse
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from solo60.subscription.v1 import subscription_pb2 as pb
from solo60.subscription.v1.subscription_pb2_grpc import SubscriptionServiceStub
from solo60.user.v1.user_pb2 import USER_STATE_ACTIVE, GetUserResponse, User
from solo60.user.v1.user_pb2_grpc import UserServiceStub
from tests.services.subscription.contracts.stored_subscriptions import store_subscription
from tests.services.subscription.subscription_mesh import DAY, FOUR_HOURS, GOOD_CARD
from tests.support.settled_messages import DELIVERED, settled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from contracts.testing import Expectations
    from tests.support.consumers import Consume
    from tests.support.serving import MeshForTests

USER_ID = str(uuid4())
SUBSCRIBE = pb.CreateSubscriptionRequest(user_id=USER_ID, plan_id=FOUR_HOURS, payment_method=GOOD_CARD)
NOT_FOUND = "NOT_FOUND SUBSCRIPTION_NOT_FOUND: "


@pytest.fixture
def unreachable_stripe() -> Iterator[dict[str, object]]:
    """Return the settings of a card processor at a port that is taken, but on which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        yield {"stripe_api_key": SecretStr("sk_test_unreachable"), "stripe_api_url": url}


async def test_a_subscription_is_renewed_by_later_calls(consume: Consume) -> None:
    """A new subscription schedules two reminders, the next charge, and the review of a payment that is not reported."""
    mesh, expectations = await consume(SERVICE)
    created = await subscribe(mesh, expectations)
    subscription_id, end_time = created.subscription_id, created.current_period.end_time
    later = expectations.later(SubscriptionServiceStub)
    for days in (7, 3):
        given = later.given(
            f"a subscription that renews in {days} days", subscription_id=subscription_id, renewal_time=end_time
        )
        given.SendSubscriptionMail(
            request=pb.SendSubscriptionMailRequest(
                subscription_id=subscription_id,
                mail=pb.SUBSCRIPTION_MAIL_RENEWAL_REMINDER,
                time=end_time,
                notice_days=days,
            ),
            answer=pb.SendSubscriptionMailResponse(),
        )
    later.given("a subscription whose month has ended", subscription_id=subscription_id).ChargeInTestMode(
        request=pb.ChargeInTestModeRequest(subscription_id=subscription_id), answer=pb.ChargeInTestModeResponse()
    )
    later.given("a subscription whose payment is late", subscription_id=subscription_id).ReviewSubscription(
        request=pb.ReviewSubscriptionRequest(subscription_id=subscription_id), answer=pb.ReviewSubscriptionResponse()
    )

    mesh.clock.advance(end_time.ToDatetime(UTC) + 3 * DAY - mesh.clock.now())

    await expectations.all_called()
    for method in ("SendSubscriptionMail", "ChargeInTestMode", "ReviewSubscription"):
        assert set(await settled(mesh, "subscription", method)) == {DELIVERED}


async def test_later_calls_about_an_unknown_subscription_become_dead_letters(consume: Consume) -> None:
    """Reminders, charges and reviews are not repeated if the subscription no longer exists."""
    mesh, expectations = await consume(SERVICE)
    created = await subscribe(mesh, expectations)
    subscription_id = created.subscription_id
    unknown = expectations.later(SubscriptionServiceStub).given("no subscription", subscription_id=subscription_id)
    unknown.SendSubscriptionMail(
        request=pb.SendSubscriptionMailRequest(
            subscription_id=subscription_id, mail=pb.SUBSCRIPTION_MAIL_RENEWAL_REMINDER
        ),
        error=SubscriptionNotFound(),
    )
    unknown.ChargeInTestMode(
        request=pb.ChargeInTestModeRequest(subscription_id=subscription_id), error=SubscriptionNotFound()
    )
    unknown.ReviewSubscription(
        request=pb.ReviewSubscriptionRequest(subscription_id=subscription_id), error=SubscriptionNotFound()
    )

    mesh.clock.advance(created.current_period.end_time.ToDatetime(UTC) + 3 * DAY - mesh.clock.now())

    for method, count in (("SendSubscriptionMail", 2), ("ChargeInTestMode", 1), ("ReviewSubscription", 1)):
        errors = [each for each in await settled(mesh, "subscription", method) if each != DELIVERED]
        assert [NOT_FOUND in error for error in errors] == [True] * count


async def test_a_cancellation_is_mailed_and_passed_on_to_the_card_processor(
    consume: Consume, unreachable_stripe: dict[str, object]
) -> None:
    """CancelSubscription schedules a mail and a call that cancels the subscription at the card processor."""
    mesh, expectations = await consume(SERVICE, **unreachable_stripe)
    subscription = await store_subscription(mesh)
    subscription_id, end_time = str(subscription.subscription_id), subscription.current_period.end
    mail = pb.SendSubscriptionMailRequest(
        subscription_id=subscription_id, mail=pb.SUBSCRIPTION_MAIL_SUBSCRIPTION_EXPIRED
    )
    mail.time.FromDatetime(end_time)
    cancelled = expectations.later(SubscriptionServiceStub).given(
        "a cancelled subscription", subscription_id=subscription_id, end_time=end_time
    )
    cancelled.SendSubscriptionMail(request=mail, answer=pb.SendSubscriptionMailResponse())
    cancelled.SyncCardProcessor(
        request=pb.SyncCardProcessorRequest(subscription_id=subscription_id), answer=pb.SyncCardProcessorResponse()
    )

    await cancel(mesh, subscription_id)

    assert await settled(mesh, "subscription", "SendSubscriptionMail") == [DELIVERED]
    assert await settled(mesh, "subscription", "SyncCardProcessor") == [DELIVERED]


async def test_a_cancellation_of_an_unknown_subscription_becomes_a_dead_letter(
    consume: Consume, unreachable_stripe: dict[str, object]
) -> None:
    """A cancellation is not passed on again if the subscription no longer exists."""
    mesh, expectations = await consume(SERVICE, **unreachable_stripe)
    subscription_id = str((await store_subscription(mesh)).subscription_id)
    expectations.fake.of(SubscriptionServiceStub).SendSubscriptionMail(answer=pb.SendSubscriptionMailResponse())
    unknown = expectations.later(SubscriptionServiceStub).given("no subscription", subscription_id=subscription_id)
    unknown.SyncCardProcessor(
        request=pb.SyncCardProcessorRequest(subscription_id=subscription_id), error=SubscriptionNotFound()
    )

    await cancel(mesh, subscription_id)

    (error,) = await settled(mesh, "subscription", "SyncCardProcessor")
    assert NOT_FOUND in error


async def test_an_order_without_an_answer_of_the_card_processor_is_settled_later(
    consume: Consume, unreachable_stripe: dict[str, object]
) -> None:
    """CreateSubscription leaves an order if the card processor does not answer, and settles it a minute later."""
    mesh, expectations = await consume(SERVICE, **unreachable_stripe)
    find_user(expectations)
    with pytest.raises(Unavailable):
        await mesh.stub(SubscriptionServiceStub).CreateSubscription(SUBSCRIBE)
    async with mesh.database("subscription").connection() as connection:
        subscription_id = str(await connection.fetchval("select subscription_id from subscription_orders"))
    order = expectations.later(SubscriptionServiceStub).given("an open order", subscription_id=subscription_id)
    order.SettleSubscriptionOrder(
        request=pb.SettleSubscriptionOrderRequest(subscription_id=subscription_id),
        answer=pb.SettleSubscriptionOrderResponse(),
    )

    mesh.clock.advance(timedelta(minutes=1))

    assert await settled(mesh, "subscription", "SettleSubscriptionOrder") == [DELIVERED]


def find_user(expectations: Expectations) -> None:
    """Let the user service find the user."""
    user = User(user_id=USER_ID, state=USER_STATE_ACTIVE)
    expectations.fake.of(UserServiceStub).GetUser(answer=GetUserResponse(user=user))


async def subscribe(mesh: MeshForTests, expectations: Expectations) -> pb.Subscription:
    """Subscribe the user, and let the first credits and the first mail arrive."""
    find_user(expectations)
    expectations.fake.of(PaymentServiceStub).GrantCredits(answer=GrantCreditsResponse(credits=40))
    expectations.fake.of(SubscriptionServiceStub).SendSubscriptionMail(
        request=pb.SendSubscriptionMailRequest(mail=pb.SUBSCRIPTION_MAIL_SUBSCRIPTION_ACTIVATED),
        answer=pb.SendSubscriptionMailResponse(),
    )
    return (await mesh.stub(SubscriptionServiceStub).CreateSubscription(SUBSCRIBE)).subscription


async def cancel(mesh: MeshForTests, subscription_id: str) -> None:
    """Cancel a subscription at the end of its month."""
    request = pb.CancelSubscriptionRequest(subscription_id=subscription_id, at_period_end=True)
    await mesh.stub(SubscriptionServiceStub).CancelSubscription(request)
