from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from contracts.errors import (
    AlreadySubscribed,
    CardDeclined,
    IdempotencyKeyReused,
    InvalidRequest,
    PlanNotFound,
    ServiceError,
    SubscriptionNotActive,
    SubscriptionNotFound,
    UserNotActive,
    UserNotFound,
)
from interceptors.idempotency import IDEMPOTENCY_KEY
from solo60.subscription.v1.subscription_pb2 import (
    SUBSCRIPTION_MAIL_RENEWAL_REMINDER,
    SUBSCRIPTION_MAIL_TRIAL_ENDING,
    CreateSubscriptionRequest,
    GetSubscriptionRequest,
    GetUserSubscriptionRequest,
    ListPlansRequest,
    PaymentMethod,
    Subscription,
)
from solo60.subscription.v1.subscription_pb2_grpc import SubscriptionServiceStub
from solo60.user.v1.user_pb2 import USER_STATE_SUSPENDED, UpdateUserRequest, User
from tests.services.subscription.subscription_mesh import (
    DAY,
    FOUR_HOURS,
    GOOD_CARD,
    SERVICES,
    TEN_HOURS,
    event,
    webhook,
)
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from tests.services.subscription.subscription_fixture import SubscriptionFixture
    from tests.services.subscription.subscription_mesh import SubscriptionMesh
    from tests.support.serving import Serve

KEY = ((IDEMPOTENCY_KEY, "subscribe-ada-byron"),)


def end_of(subscription: Subscription) -> datetime:
    """Return the end of the current period."""
    return subscription.current_period.end_time.ToDatetime(UTC)


@pytest.mark.requirement("J4")
async def test_plans_are_listed_by_price(serve: Serve) -> None:
    """Plans are listed in pages, the cheapest first, and an invalid page token is rejected."""
    stub = (await serve(SERVICES["subscription"])).stub(SubscriptionServiceStub)

    first = await stub.ListPlans(ListPlansRequest(page_size=2))
    second = await stub.ListPlans(ListPlansRequest(page_size=2, page_token=first.next_page_token))

    plans = [*first.plans, *second.plans]
    assert [(plan.name, plan.price.minor_units, plan.trial_days) for plan in plans] == [
        ("Four hours", 3900, 0),
        ("Ten hours", 8900, 14),
        ("Twenty hours", 15900, 14),
    ]
    assert second.next_page_token == ""
    with pytest.raises(InvalidRequest):
        await stub.ListPlans(ListPlansRequest(page_token="x"))  # noqa: S106 - a cursor


@pytest.mark.requirement("J4")
async def test_a_plan_without_a_trial_is_paid_at_once(mesh: SubscriptionMesh) -> None:
    """A plan without a trial grants its credits at once, sends a welcome mail and schedules a renewal reminder."""
    user_id = await mesh.create_member(display_name="Ada Byron")

    new = await mesh.subscribe(FOUR_HOURS, user_id)

    assert await mesh.status(new) == "ACTIVE"
    assert not new.HasField("trial_end_time")
    assert await mesh.balance(user_id) == 40
    mail = (await mesh.mails())["Welcome to Four hours"]
    assert all(words in mail.body for words in ("Hello Ada Byron", "39.00 GBP", "40 each month"))
    assert await mesh.reminders() == [(SUBSCRIPTION_MAIL_RENEWAL_REMINDER, end_of(new) - days * DAY) for days in (7, 3)]


@pytest.mark.requirement("J4")
async def test_a_trial_grants_credits_and_schedules_a_reminder(mesh: SubscriptionMesh) -> None:
    """A trial of 14 days grants the first month's credits, and schedules a reminder 3 days before it ends."""
    new = await mesh.subscribe(TEN_HOURS)

    assert await mesh.status(new) == "TRIALING"
    assert new.trial_end_time == new.current_period.end_time
    assert end_of(new) - new.create_time.ToDatetime(UTC) == 14 * DAY
    assert await mesh.balance(new.user_id) == 100
    assert await mesh.reminders() == [(SUBSCRIPTION_MAIL_TRIAL_ENDING, end_of(new) - 3 * DAY)]


@pytest.mark.requirement("J4")
async def test_a_request_may_set_the_length_of_the_trial(mesh: SubscriptionMesh) -> None:
    """`trial_days` overrides the trial of the plan, and 0 means no trial."""
    without, longer = await mesh.subscribe(TEN_HOURS, trial_days=0), await mesh.subscribe(TEN_HOURS, trial_days=30)

    assert [await mesh.status(each) for each in (without, longer)] == ["ACTIVE", "TRIALING"]
    assert end_of(longer) - longer.create_time.ToDatetime(UTC) == 30 * DAY


@pytest.mark.requirement("J4")
async def test_an_impossible_subscription_is_rejected_with_the_reason(mesh: SubscriptionMesh) -> None:
    """An unknown or suspended user, an unknown plan and a declined card are rejected without storing anything."""
    suspended = User(user_id=await mesh.create_member(), state=USER_STATE_SUSPENDED)
    await mesh.users.UpdateUser(UpdateUserRequest(user=suspended, update_mask=FieldMask(paths=["state"])))
    given = {"user_id": await mesh.create_member(), "plan_id": FOUR_HOURS, "payment_method": GOOD_CARD}
    refused: list[tuple[dict[str, Any], type[ServiceError]]] = [
        ({"user_id": str(uuid4())}, UserNotFound),
        ({"user_id": suspended.user_id}, UserNotActive),
        ({"plan_id": str(uuid4())}, PlanNotFound),
        ({"payment_method": PaymentMethod(card_token="tok_declined")}, CardDeclined),  # noqa: S106 - a test card
    ]

    for change, error in refused:
        with pytest.raises(error):
            await mesh.subscriptions.CreateSubscription(CreateSubscriptionRequest(**{**given, **change}))

    assert await mesh.fetch("subscription", "select subscription_id from subscriptions") == []
    assert await mesh.fetch("subscription", "select message_id from outbox") == []


async def test_one_of_twenty_concurrent_calls_subscribes_the_user(mesh: SubscriptionMesh) -> None:
    """Of 20 concurrent calls for one user, one succeeds and 19 fail with AlreadySubscribed, without a deadlock."""
    user_id = await mesh.create_member()

    answers = await asyncio.gather(*[mesh.subscribe(user_id=user_id) for _ in range(20)], return_exceptions=True)

    assert sum(isinstance(answer, Subscription) for answer in answers) == 1
    assert sum(isinstance(answer, AlreadySubscribed) for answer in answers) == 19
    assert await mesh.balance(user_id) == 40


async def test_concurrent_subscriptions_of_one_user_wait_for_each_other(fixture: SubscriptionFixture) -> None:
    """The second call waits for an advisory lock before its insert, because waiting inside the constraint deadlocks."""
    user_id = uuid4()

    async def waiting_lock_types() -> list[str]:
        async with fixture.database.connection() as connection:
            rows = await connection.fetch(
                "select locktype from pg_locks join pg_stat_activity using (pid)"
                " where not granted and datname = current_database()"
            )
        return [row["locktype"] for row in rows]

    async def is_waiting() -> bool:
        return await waiting_lock_types() != []

    async with fixture.store.transaction() as tx:
        await fixture.subscribe(tx, user_id)
        second = asyncio.create_task(fixture.subscribe_user(user_id))
        await eventually(is_waiting)
        kinds = await waiting_lock_types()

    assert kinds == ["advisory"]
    with pytest.raises(AlreadySubscribed):
        await second


@pytest.mark.requirement("S6")
async def test_a_repeated_request_gets_the_same_answer(mesh: SubscriptionMesh) -> None:
    """Three requests with one idempotency key create one subscription; another request with that key is rejected."""
    user_id = await mesh.create_member()
    request = CreateSubscriptionRequest(user_id=user_id, plan_id=FOUR_HOURS, payment_method=GOOD_CARD)

    answers = [await mesh.subscriptions.CreateSubscription(request, metadata=KEY) for _ in range(3)]

    assert answers[0] == answers[1] == answers[2]
    assert await mesh.balance(user_id) == 40
    request.plan_id = TEN_HOURS
    with pytest.raises(IdempotencyKeyReused):
        await mesh.subscriptions.CreateSubscription(request, metadata=KEY)


@pytest.mark.requirement("J4")
async def test_a_users_subscription_is_the_current_or_the_last(mesh: SubscriptionMesh) -> None:
    """GetUserSubscription returns the current subscription, or the last one if none is current."""
    user_id = await mesh.create_member()
    first = await mesh.cancel(await mesh.subscribe(user_id=user_id))
    of_user = GetUserSubscriptionRequest(user_id=user_id)

    assert (await mesh.subscriptions.GetUserSubscription(of_user)).subscription == first

    second = await mesh.subscribe(user_id=user_id)

    assert (await mesh.subscriptions.GetUserSubscription(of_user)).subscription == second
    for unknown in (
        mesh.subscriptions.GetUserSubscription(GetUserSubscriptionRequest(user_id=str(uuid4()))),
        mesh.subscriptions.GetSubscription(GetSubscriptionRequest(subscription_id=str(uuid4()))),
    ):
        with pytest.raises(SubscriptionNotFound):
            await unknown


@pytest.mark.requirement("J4")
async def test_a_cancelled_subscription_runs_until_its_period_ends(mesh: SubscriptionMesh) -> None:
    """A subscription cancelled at period end stays active, its mail names the end, and its reminder is withdrawn."""
    new = await mesh.subscribe()

    cancelled = await mesh.cancel(new, at_period_end=True)

    assert await mesh.status(new) == "ACTIVE"
    assert cancelled.cancel_at_period_end
    assert cancelled.end_time == new.current_period.end_time
    assert await mesh.reminders() == []
    assert set(await mesh.mails()) == {"Welcome to Four hours", "Your subscription Four hours ends"}
    with pytest.raises(SubscriptionNotActive):
        await mesh.cancel(new, at_period_end=True)
    with pytest.raises(AlreadySubscribed):
        await mesh.subscribe(user_id=new.user_id)


@pytest.mark.requirement("J4")
async def test_a_subscription_cancelled_now_lets_its_user_subscribe_again(mesh: SubscriptionMesh) -> None:
    """Cancelling now also ends a subscription that was to run until its period ends. Its user may subscribe again."""
    new = await mesh.subscribe()
    await mesh.cancel(new, at_period_end=True)

    ended = await mesh.cancel(new)

    assert await mesh.status(new) == "CANCELLED"
    assert not ended.cancel_at_period_end
    with pytest.raises(SubscriptionNotActive):
        await mesh.cancel(new)
    assert await mesh.status(await mesh.subscribe(user_id=new.user_id)) == "ACTIVE"


@pytest.mark.requirement("J4")
async def test_a_mail_shows_times_in_the_members_time_zone(mesh: SubscriptionMesh) -> None:
    """A mail shows its time in the member's time zone."""
    member = await mesh.create_member(time_zone="Pacific/Auckland")
    new = await mesh.subscribe(user_id=member)

    await mesh.deliver(webhook(event("ended", new, end_time=datetime(2026, 1, 1, tzinfo=UTC))))

    mail = (await mesh.mails())["Your subscription Four hours ends"]
    assert "Thursday 1 January 2026, 13:00 (Pacific/Auckland)" in mail.body


async def test_an_undeliverable_address_leaves_a_dead_letter(mesh: SubscriptionMesh) -> None:
    """A mail to an address that the current rule rejects becomes a dead letter, and the subscription stays active."""
    member = await mesh.create_member()
    async with mesh.services.database("user").transaction() as connection:
        await connection.execute("update users set email = 'ada@localhost' where user_id = $1", UUID(member))

    new = await mesh.subscribe(user_id=member)

    async def is_given_up() -> bool:
        dead = await mesh.fetch("subscription", "select destination, last_error from outbox where status = 'dead'")
        return [destination for destination, error in dead if "recipient.email" in error] == [
            "solo60.subscription.v1.SubscriptionService/SendSubscriptionMail"
        ]

    await eventually(is_given_up)
    assert await mesh.status(new) == "ACTIVE"
