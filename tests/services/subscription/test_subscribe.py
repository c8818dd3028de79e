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
    """Return when the current period ends."""
    return subscription.current_period.end_time.ToDatetime(UTC)


@pytest.mark.requirement("J4")
async def test_plans_are_listed_from_the_cheapest_on(serve: Serve) -> None:
    """In pages."""
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
    """Credits, a welcome with the plan's details, and a reminder 7 days before it renews."""
    user_id = await club.a_member(display_name="Ada Byron")

    new = await club.subscribed(FOUR_HOURS, user_id)

    assert await club.status(new) == "ACTIVE"
    assert not new.HasField("trial_end_time")
    assert await club.balance(user_id) == 40
    mail = (await club.mails())["Welcome to Four hours"]
    assert all(words in mail.body for words in ("Hello Ada Byron", "39.00 GBP", "40 each month"))
    assert await club.reminders() == [(SUBSCRIPTION_MAIL_RENEWAL_REMINDER, end_of(new) - 7 * DAY)]


@pytest.mark.requirement("J4")
async def test_a_trial_costs_nothing_yet(club: Club) -> None:
    """It brings the first month's credits, and a reminder 3 days before it ends."""
    new = await club.subscribed(TEN_HOURS)

    assert await club.status(new) == "TRIALING"
    assert new.trial_end_time == new.current_period.end_time
    assert end_of(new) - new.create_time.ToDatetime(UTC) == 14 * DAY
    assert await club.balance(new.user_id) == 100
    assert await club.reminders() == [(SUBSCRIPTION_MAIL_TRIAL_ENDING, end_of(new) - 3 * DAY)]


@pytest.mark.requirement("J4")
async def test_the_length_of_a_trial_may_be_asked_for(club: Club) -> None:
    """0 is none, whatever the plan gives."""
    without, longer = await club.subscribed(TEN_HOURS, trial_days=0), await club.subscribed(TEN_HOURS, trial_days=30)

    assert [await club.status(each) for each in (without, longer)] == ["ACTIVE", "TRIALING"]
    assert end_of(longer) - longer.create_time.ToDatetime(UTC) == 30 * DAY


@pytest.mark.requirement("J4")
async def test_who_cannot_subscribe_is_told_why(club: Club) -> None:
    """And nothing is left behind."""
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


async def test_of_twenty_at_once_one_subscribes_the_user(club: Club) -> None:
    """A user has one subscription at a time, and nobody is a victim of a deadlock."""
    user_id = await club.a_member()

    answers = await asyncio.gather(*[club.subscribed(user_id=user_id) for _ in range(20)], return_exceptions=True)

    assert sum(isinstance(answer, Subscription) for answer in answers) == 1
    assert sum(isinstance(answer, AlreadySubscribed) for answer in answers) == 19
    assert await club.balance(user_id) == 40


async def test_who_subscribes_a_user_waits_for_who_else_does(office: Office) -> None:
    """In a queue before the insert: inserts that wait for each other in the constraint deadlock."""
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
async def test_a_repetition_is_answered_alike(club: Club) -> None:
    """One subscription and one month's credits for each key; another request under it is refused."""
    user_id = await club.a_member()
    request = CreateSubscriptionRequest(user_id=user_id, plan_id=FOUR_HOURS, payment_method=GOOD_CARD)

    answers = [await club.subscriptions.CreateSubscription(request, metadata=KEY) for _ in range(3)]

    assert answers[0] == answers[1] == answers[2]
    assert await club.balance(user_id) == 40
    request.plan_id = TEN_HOURS
    with pytest.raises(IdempotencyKeyReused):
        await club.subscriptions.CreateSubscription(request, metadata=KEY)


@pytest.mark.requirement("J4")
async def test_a_users_subscription_is_the_one_that_lasts_or_else_the_last(club: Club) -> None:
    """Ended ones are shown too."""
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
    """It is mailed when that is, and the reminder is taken back."""
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
async def test_a_subscription_is_ended_now_and_its_user_begins_anew(club: Club) -> None:
    """Also one that was to run until its period ends."""
    new = await club.subscribed()
    await club.cancelled(new, at_period_end=True)

    ended = await club.cancelled(new)

    assert await club.status(new) == "CANCELLED"
    assert not ended.cancel_at_period_end
    with pytest.raises(SubscriptionNotActive):
        await club.cancelled(new)
    assert await club.status(await club.subscribed(user_id=new.user_id)) == "ACTIVE"


@pytest.mark.requirement("J4")
async def test_a_mail_speaks_in_the_members_time_zone(club: Club) -> None:
    """As the clock there shows it."""
    member = await club.a_member(time_zone="Pacific/Auckland")
    new = await club.subscribed(user_id=member)

    await club.deliver(webhook(event("ended", new, end_time=datetime(2026, 1, 1, tzinfo=UTC))))

    mail = (await club.mails())["Your subscription Four hours ends"]
    assert "Thursday 1 January 2026, 13:00 (Pacific/Auckland)" in mail.body


async def test_an_address_that_takes_no_mail_leaves_a_dead_letter_for_operators(club: Club) -> None:
    """The subscription stands; the mail to an address from before the present rule is given up where it can be seen."""
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
