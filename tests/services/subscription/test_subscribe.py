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
from services.subscription.store import Register
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
from tests.services.subscription.club import DAY, FOUR_HOURS, GOOD_CARD, SERVICES, TEN_HOURS, event, webhook
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from tests.services.subscription.club import Club
    from tests.services.subscription.office import Office
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
async def test_a_plan_without_a_trial_is_paid_at_once(club: Club) -> None:
    """A plan without a trial grants its credits at once, sends a welcome mail and schedules a renewal reminder."""
    user_id = await club.a_member(display_name="Ada Byron")

    new = await club.subscribed(FOUR_HOURS, user_id)

    assert await club.status(new) == "ACTIVE"
    assert not new.HasField("trial_end_time")
    assert await club.balance(user_id) == 40
    mail = (await club.mails())["Welcome to Four hours"]
    assert all(words in mail.body for words in ("Hello Ada Byron", "39.00 GBP", "40 each month"))
    assert await club.reminders() == [(SUBSCRIPTION_MAIL_RENEWAL_REMINDER, end_of(new) - 7 * DAY)]


@pytest.mark.requirement("J4")
async def test_a_trial_grants_credits_and_schedules_a_reminder(club: Club) -> None:
    """A trial of 14 days grants the first month's credits, and schedules a reminder 3 days before it ends."""
    new = await club.subscribed(TEN_HOURS)

    assert await club.status(new) == "TRIALING"
    assert new.trial_end_time == new.current_period.end_time
    assert end_of(new) - new.create_time.ToDatetime(UTC) == 14 * DAY
    assert await club.balance(new.user_id) == 100
    assert await club.reminders() == [(SUBSCRIPTION_MAIL_TRIAL_ENDING, end_of(new) - 3 * DAY)]


@pytest.mark.requirement("J4")
async def test_a_request_may_set_the_length_of_the_trial(club: Club) -> None:
    """`trial_days` overrides the trial of the plan, and 0 means no trial."""
    without, longer = await club.subscribed(TEN_HOURS, trial_days=0), await club.subscribed(TEN_HOURS, trial_days=30)

    assert [await club.status(each) for each in (without, longer)] == ["ACTIVE", "TRIALING"]
    assert end_of(longer) - longer.create_time.ToDatetime(UTC) == 30 * DAY


@pytest.mark.requirement("J4")
async def test_an_impossible_subscription_is_rejected_with_the_reason(club: Club) -> None:
    """An unknown or suspended user, an unknown plan and a declined card are rejected without storing anything."""
    suspended = User(user_id=await club.a_member(), state=USER_STATE_SUSPENDED)
    await club.users.UpdateUser(UpdateUserRequest(user=suspended, update_mask=FieldMask(paths=["state"])))
    given = {"user_id": await club.a_member(), "plan_id": FOUR_HOURS, "payment_method": GOOD_CARD}
    refused: list[tuple[dict[str, Any], type[ServiceError]]] = [
        ({"user_id": str(uuid4())}, UserNotFound),
        ({"user_id": suspended.user_id}, UserNotActive),
        ({"plan_id": str(uuid4())}, PlanNotFound),
        ({"payment_method": PaymentMethod(card_token="tok_declined")}, CardDeclined),  # noqa: S106 - a test card
    ]

    for change, error in refused:
        with pytest.raises(error):
            await club.subscriptions.CreateSubscription(CreateSubscriptionRequest(**{**given, **change}))

    assert await club.fetch("subscription", "select subscription_id from subscriptions") == []
    assert await club.fetch("subscription", "select message_id from outbox") == []


async def test_one_of_twenty_concurrent_calls_subscribes_the_user(club: Club) -> None:
    """Of 20 concurrent calls for one user, one succeeds and 19 fail with AlreadySubscribed, without a deadlock."""
    user_id = await club.a_member()

    answers = await asyncio.gather(*[club.subscribed(user_id=user_id) for _ in range(20)], return_exceptions=True)

    assert sum(isinstance(answer, Subscription) for answer in answers) == 1
    assert sum(isinstance(answer, AlreadySubscribed) for answer in answers) == 19
    assert await club.balance(user_id) == 40


async def test_concurrent_subscriptions_of_one_user_wait_for_each_other(office: Office) -> None:
    """The second call waits for an advisory lock before its insert, because waiting inside the constraint deadlocks."""
    user_id = uuid4()

    async def waited_for() -> list[str]:
        async with office.database.connection() as connection:
            rows = await connection.fetch(
                "select locktype from pg_locks join pg_stat_activity using (pid)"
                " where not granted and datname = current_database()"
            )
        return [row["locktype"] for row in rows]

    async def waits() -> bool:
        return await waited_for() != []

    async with office.database.transaction() as connection:
        await office.subscribe(Register(connection), user_id)
        second = asyncio.create_task(office.store.run(lambda register: office.subscribe(register, user_id)))
        await eventually(waits)
        kinds = await waited_for()

    assert kinds == ["advisory"]
    with pytest.raises(AlreadySubscribed):
        await second


@pytest.mark.requirement("S6")
async def test_a_repeated_request_gets_the_same_answer(club: Club) -> None:
    """Three requests with one idempotency key create one subscription; another request with that key is rejected."""
    user_id = await club.a_member()
    request = CreateSubscriptionRequest(user_id=user_id, plan_id=FOUR_HOURS, payment_method=GOOD_CARD)

    answers = [await club.subscriptions.CreateSubscription(request, metadata=KEY) for _ in range(3)]

    assert answers[0] == answers[1] == answers[2]
    assert await club.balance(user_id) == 40
    request.plan_id = TEN_HOURS
    with pytest.raises(IdempotencyKeyReused):
        await club.subscriptions.CreateSubscription(request, metadata=KEY)


@pytest.mark.requirement("J4")
async def test_a_users_subscription_is_the_current_or_the_last(club: Club) -> None:
    """GetUserSubscription returns the current subscription. If there is none, it returns the last one."""
    user_id = await club.a_member()
    first = await club.cancelled(await club.subscribed(user_id=user_id))
    of_user = GetUserSubscriptionRequest(user_id=user_id)

    assert (await club.subscriptions.GetUserSubscription(of_user)).subscription == first

    second = await club.subscribed(user_id=user_id)

    assert (await club.subscriptions.GetUserSubscription(of_user)).subscription == second
    for unknown in (
        club.subscriptions.GetUserSubscription(GetUserSubscriptionRequest(user_id=str(uuid4()))),
        club.subscriptions.GetSubscription(GetSubscriptionRequest(subscription_id=str(uuid4()))),
    ):
        with pytest.raises(SubscriptionNotFound):
            await unknown


@pytest.mark.requirement("J4")
async def test_a_cancelled_subscription_runs_until_its_period_ends(club: Club) -> None:
    """A subscription cancelled at period end stays active, its mail names the end, and its reminder is withdrawn."""
    new = await club.subscribed()

    cancelled = await club.cancelled(new, at_period_end=True)

    assert await club.status(new) == "ACTIVE"
    assert cancelled.cancel_at_period_end
    assert cancelled.end_time == new.current_period.end_time
    assert await club.reminders() == []
    assert set(await club.mails()) == {"Welcome to Four hours", "Your subscription Four hours ends"}
    with pytest.raises(SubscriptionNotActive):
        await club.cancelled(new, at_period_end=True)
    with pytest.raises(AlreadySubscribed):
        await club.subscribed(user_id=new.user_id)


@pytest.mark.requirement("J4")
async def test_a_subscription_cancelled_now_lets_its_user_subscribe_again(club: Club) -> None:
    """Cancelling now also ends a subscription that was to run until its period ends. Its user may subscribe again."""
    new = await club.subscribed()
    await club.cancelled(new, at_period_end=True)

    ended = await club.cancelled(new)

    assert await club.status(new) == "CANCELLED"
    assert not ended.cancel_at_period_end
    with pytest.raises(SubscriptionNotActive):
        await club.cancelled(new)
    assert await club.status(await club.subscribed(user_id=new.user_id)) == "ACTIVE"


@pytest.mark.requirement("J4")
async def test_a_mail_shows_times_in_the_members_time_zone(club: Club) -> None:
    """A mail shows its time in the member's time zone."""
    member = await club.a_member(time_zone="Pacific/Auckland")
    new = await club.subscribed(user_id=member)

    await club.deliver(webhook(event("ended", new, end_time=datetime(2026, 1, 1, tzinfo=UTC))))

    mail = (await club.mails())["Your subscription Four hours ends"]
    assert "Thursday 1 January 2026, 13:00 (Pacific/Auckland)" in mail.body


async def test_an_undeliverable_address_leaves_a_dead_letter(club: Club) -> None:
    """A mail to an address that the current rule rejects becomes a dead letter, and the subscription stays active."""
    member = await club.a_member()
    async with club.mesh.database("user").transaction() as connection:
        await connection.execute("update users set email = 'ada@localhost' where user_id = $1", UUID(member))

    new = await club.subscribed(user_id=member)

    async def is_given_up() -> bool:
        dead = await club.fetch("subscription", "select destination, last_error from outbox where status = 'dead'")
        return [destination for destination, error in dead if "recipient.email" in error] == [
            "solo60.subscription.v1.SubscriptionService/SendSubscriptionMail"
        ]

    await eventually(is_given_up)
    assert await club.status(new) == "ACTIVE"
