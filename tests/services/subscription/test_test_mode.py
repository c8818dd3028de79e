"""Test mode by the clock: renewals, failed charges, recovery and ends, on a running mesh."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from contracts.errors import CardDeclined, InvalidRequest, ScopeMissing, SubscriptionNotActive, SubscriptionNotFound
from interceptors.idempotency import IDEMPOTENCY_KEY
from services.subscription.app import SERVICE
from solo60.subscription.v1.subscription_pb2 import (
    ChargeInTestModeRequest,
    CreateSubscriptionRequest,
    PaymentMethod,
    ResumeSubscriptionRequest,
    SettleSubscriptionOrderRequest,
    Subscription,
    SyncCardProcessorRequest,
    UpdatePaymentMethodRequest,
)
from solo60.subscription.v1.subscription_pb2_grpc import SubscriptionServiceStub
from tests.services.subscription.subscription_mesh import DAY, FOUR_HOURS, GOOD_CARD, TEN_HOURS

if TYPE_CHECKING:
    from tests.services.subscription.subscription_mesh import SubscriptionMesh

FAILING_CARD = PaymentMethod(card_token="tok_chargeCustomerFail")  # noqa: S106 - a test card
DECLINED_CARD = PaymentMethod(card_token="tok_declined")  # noqa: S106 - a test card
UNKNOWN_ID = "0198c1a2-0000-7000-8000-00000000dead"
HOUR = timedelta(hours=1)


def end_of(subscription: Subscription) -> datetime:
    """Return the end of the current period."""
    return subscription.current_period.end_time.ToDatetime(UTC)


def text_of(time: datetime) -> str:
    """Return a time as mails show it."""
    return f"{time:%A} {time.day} {time:%B %Y, %H:%M} (UTC)"


async def subscribe_with(mesh: SubscriptionMesh, card: PaymentMethod, plan_id: str = TEN_HOURS) -> Subscription:
    """Subscribe a new member with a card."""
    request = CreateSubscriptionRequest(user_id=await mesh.create_member(), plan_id=plan_id, payment_method=card)
    return (await mesh.subscriptions.CreateSubscription(request)).subscription


async def replace_card(mesh: SubscriptionMesh, subscription: Subscription, card: PaymentMethod) -> Subscription:
    """Replace the card of a subscription."""
    request = UpdatePaymentMethodRequest(subscription_id=subscription.subscription_id, payment_method=card)
    return (await mesh.subscriptions.UpdatePaymentMethod(request)).subscription


async def granted(mesh: SubscriptionMesh, subscription: Subscription) -> list[datetime]:
    """Return the starts of the periods whose credits are granted."""
    query = "select period_start from granted_periods where subscription_id = $1::uuid order by period_start"
    return [start for (start,) in await mesh.fetch("subscription", query, subscription.subscription_id)]


async def subjects(mesh: SubscriptionMesh) -> list[str]:
    """Return the subjects of all mails, sorted."""
    return sorted(mail.subject for mail in await mesh.all_mails())


@pytest.mark.requirement("J4")
async def test_a_trial_and_its_months_are_charged_by_the_clock(mesh: SubscriptionMesh) -> None:
    """At the end of a trial and of each month, the card is charged, the credits are granted and the member is told."""
    new = await mesh.subscribe(TEN_HOURS)
    trial_end = end_of(new)

    await mesh.advance_to(trial_end - HOUR)
    assert await mesh.status(new) == "TRIALING"
    await mesh.advance_to(trial_end)
    first = await mesh.get(new)
    await mesh.advance_to(end_of(first))
    second = await mesh.get(new)

    assert await mesh.status(new) == "ACTIVE"
    assert first.current_period.start_time == new.current_period.end_time
    assert second.current_period.start_time == first.current_period.end_time
    assert await granted(mesh, new) == [new.create_time.ToDatetime(UTC), trial_end, end_of(first)]
    assert (await subjects(mesh)).count("100 credits for you") == 2


@pytest.mark.requirement("J4")
async def test_a_failing_card_is_tried_again_and_then_the_subscription_ends(mesh: SubscriptionMesh) -> None:
    """A failed charge is repeated 3, 5 and 7 days later. Each mail names the next attempt, and the last one the end."""
    new = await subscribe_with(mesh, FAILING_CARD)
    due = end_of(new)
    statuses, mails = [], []

    for day in (0, 3, 8, 15):
        await mesh.advance_to(due + day * DAY)
        statuses.append(await mesh.status(new))
        mails.append((await mesh.all_mails())[-1])

    assert statuses == ["PAST_DUE", "PAST_DUE", "PAST_DUE", "EXPIRED"]
    for mail, next_day in zip(mails, (3, 8, 15), strict=False):
        assert mail.subject == "Your payment for Ten hours failed"
        assert text_of(due + next_day * DAY) in mail.body
    assert mails[-1].subject == "Your subscription Ten hours ends"
    assert text_of(due + 15 * DAY) in mails[-1].body
    assert len(await granted(mesh, new)) == 1
    await mesh.advance_to(due + 40 * DAY)
    assert await mesh.status(new) == "EXPIRED"


@pytest.mark.requirement("J4")
async def test_another_card_recovers_the_subscription(mesh: SubscriptionMesh) -> None:
    """Another card pays the open period at once, and the subscription renews on its day again."""
    new = await subscribe_with(mesh, FAILING_CARD)
    due = end_of(new)
    for day in (0, 3, 4):  # step by step, because a mail that is late is not sent
        await mesh.advance_to(due + day * DAY)

    with pytest.raises(CardDeclined):
        await replace_card(mesh, new, DECLINED_CARD)
    with pytest.raises(CardDeclined):
        await replace_card(mesh, new, FAILING_CARD)
    assert await mesh.status(new) == "PAST_DUE"
    recovered = await replace_card(mesh, new, GOOD_CARD)

    assert await mesh.status(new) == "ACTIVE"
    assert recovered.current_period.start_time == new.current_period.end_time
    await mesh.advance_to(end_of(recovered))
    assert await mesh.status(new) == "ACTIVE"
    assert await granted(mesh, new) == [new.create_time.ToDatetime(UTC), due, end_of(recovered)]
    assert (await subjects(mesh)).count("Your payment for Ten hours failed") == 2


async def test_a_card_that_fails_later_can_replace_a_good_one(mesh: SubscriptionMesh) -> None:
    """A card is replaced before its charge is due, once per idempotency key, and decides the next charge."""
    new = await mesh.subscribe()
    request = UpdatePaymentMethodRequest(subscription_id=new.subscription_id, payment_method=FAILING_CARD)
    key = ((IDEMPOTENCY_KEY, "replace-the-card"),)

    first = await mesh.subscriptions.UpdatePaymentMethod(request, metadata=key)
    await replace_card(mesh, new, GOOD_CARD)
    repeated = await mesh.subscriptions.UpdatePaymentMethod(request, metadata=key)
    await mesh.advance_to(end_of(new))

    assert first == repeated
    assert await mesh.status(new) == "ACTIVE"


async def test_a_card_cannot_be_replaced_without_a_running_subscription(mesh: SubscriptionMesh) -> None:
    """A card of a subscription that is over or unknown cannot be replaced, and a card that declines needs a trial."""
    new = await mesh.subscribe()
    await mesh.cancel(new)

    with pytest.raises(SubscriptionNotActive):
        await replace_card(mesh, new, GOOD_CARD)
    with pytest.raises(SubscriptionNotFound):
        await replace_card(mesh, Subscription(subscription_id=UNKNOWN_ID), GOOD_CARD)
    with pytest.raises(SubscriptionNotFound):
        await mesh.subscriptions.ChargeInTestMode(ChargeInTestModeRequest(subscription_id=UNKNOWN_ID))
    with pytest.raises(CardDeclined):
        await subscribe_with(mesh, FAILING_CARD, FOUR_HOURS)


@pytest.mark.requirement("J4")
async def test_months_of_downtime_are_caught_up_at_the_ends_of_months(mesh: SubscriptionMesh) -> None:
    """After months of downtime, each period is paid once: from 31 January to 28 February, and then to 31 March."""
    now = mesh.services.clock.now()
    year = next(year for year in range(now.year + 1, now.year + 3) if year % 4)
    await mesh.advance_to(datetime(year, 1, 31, 12, tzinfo=UTC))
    new = await mesh.subscribe()
    await mesh.wait_until_settled()

    await mesh.restart_after(SERVICE, 100 * DAY)
    await mesh.wait_until_settled()

    days = [(start.month, start.day) for start in await granted(mesh, new)]
    assert days == [(1, 31), (2, 28), (3, 31), (4, 30)]
    assert await mesh.status(new) == "ACTIVE"
    assert end_of(await mesh.get(new)).day == 31
    assert await mesh.balance(new.user_id) >= 40
    assert (await subjects(mesh)).count("40 credits for you") == 3
    assert not any("ends" in subject for subject in await subjects(mesh))


async def test_a_repeated_charge_changes_nothing(mesh: SubscriptionMesh) -> None:
    """Calls of ChargeInTestMode before the next charge, or again after it, change nothing."""
    new = await mesh.subscribe()
    request = ChargeInTestModeRequest(subscription_id=new.subscription_id)

    await mesh.subscriptions.ChargeInTestMode(request)
    assert await mesh.get(new) == new
    await mesh.advance_to(end_of(new))
    renewed = await mesh.get(new)
    await mesh.subscriptions.ChargeInTestMode(request)

    assert await mesh.get(new) == renewed
    assert len(await granted(mesh, new)) == 2


@pytest.mark.requirement("J4")
async def test_a_cancelled_subscription_is_not_charged_until_it_is_resumed(mesh: SubscriptionMesh) -> None:
    """A subscription with a planned end is not charged at that end, and a resumed one is."""
    cancelled, resumed = await mesh.subscribe(), await mesh.subscribe()
    for each in (cancelled, resumed):
        await mesh.cancel(each, at_period_end=True)
    await mesh.advance_to(end_of(cancelled) - DAY)
    await mesh.subscriptions.ResumeSubscription(ResumeSubscriptionRequest(subscription_id=resumed.subscription_id))

    await mesh.advance_to(end_of(resumed))

    assert [await mesh.status(each) for each in (cancelled, resumed)] == ["CANCELLED", "ACTIVE"]
    assert [len(await granted(mesh, each)) for each in (cancelled, resumed)] == [1, 2]


async def test_a_subscription_of_an_older_version_is_charged_at_its_deadline(mesh: SubscriptionMesh) -> None:
    """A subscription for which an older version scheduled no charge is charged before it would become past due."""
    new = await mesh.subscribe()
    await mesh.fetch("subscription", "delete from outbox where cancel_key ~ '^charge/'")
    await mesh.fetch("subscription", "delete from test_cards")

    await mesh.advance_to(end_of(new) + 3 * DAY)

    assert await mesh.status(new) == "ACTIVE"
    assert await granted(mesh, new) == [new.create_time.ToDatetime(UTC), end_of(new)]
    await mesh.advance_to(end_of(await mesh.get(new)))
    assert len(await granted(mesh, new)) == 3


async def test_bad_requests_and_other_callers_are_rejected(mesh: SubscriptionMesh) -> None:
    """A malformed id, or a card without a token, is rejected; so is a caller that needs no subscriptions."""
    stranger = mesh.services.stub(SubscriptionServiceStub, caller="gym")
    cases: list[tuple[str, type[Any], dict[str, Any]]] = [
        ("ChargeInTestMode", ChargeInTestModeRequest, {}),
        ("SyncCardProcessor", SyncCardProcessorRequest, {}),
        ("SettleSubscriptionOrder", SettleSubscriptionOrderRequest, {}),
        ("UpdatePaymentMethod", UpdatePaymentMethodRequest, {"payment_method": GOOD_CARD}),
    ]

    for method, request_type, fields in cases:
        with pytest.raises(InvalidRequest):
            await getattr(mesh.subscriptions, method)(request_type(subscription_id="1", **fields))
        with pytest.raises(ScopeMissing):
            await getattr(stranger, method)(request_type(subscription_id=UNKNOWN_ID, **fields))
    for card in (None, PaymentMethod()):
        without_token = UpdatePaymentMethodRequest(subscription_id=UNKNOWN_ID, payment_method=card)
        with pytest.raises(InvalidRequest):
            await mesh.subscriptions.UpdatePaymentMethod(without_token)


async def test_settled_and_unknown_orders_are_left_alone(mesh: SubscriptionMesh) -> None:
    """Settling an order that is complete or unknown changes nothing, and syncing an unknown subscription fails."""
    new = await mesh.subscribe()

    for subscription_id in (new.subscription_id, UNKNOWN_ID):
        request = SettleSubscriptionOrderRequest(subscription_id=subscription_id)
        await mesh.subscriptions.SettleSubscriptionOrder(request)
    with pytest.raises(SubscriptionNotFound):
        await mesh.subscriptions.SyncCardProcessor(SyncCardProcessorRequest(subscription_id=UNKNOWN_ID))

    assert await mesh.get(new) == new
