"""Subscriptions charged by Stripe, against a local server with its API."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from contracts.errors import AlreadySubscribed, CardDeclined, IdempotencyKeyReused, SubscriptionNotFound, Unavailable
from interceptors.idempotency import IDEMPOTENCY_KEY
from mesh import card_processor
from solo60.subscription.v1.subscription_pb2 import (
    WEBHOOK_SCHEME_STANDARD,
    OnUserErasedRequest,
    OnUserLeftRequest,
    PaymentMethod,
    ResolveWebhookRequest,
    ResumeSubscriptionRequest,
    ReviewSubscriptionRequest,
    SettleSubscriptionOrderRequest,
    UpdatePaymentMethodRequest,
)
from solo60.user.v1.events_pb2 import UserErased, UserLeft
from tests.services.subscription.stripe_mesh import (
    DECLINED,
    DECLINED_LATER,
    EVENTS,
    GOOD,
    at_stripe,
    paid,
    request_of,
    subscribe,
    wait_for_status,
)
from tests.services.subscription.subscription_mesh import DAY, FOUR_HOURS, TEN_HOURS, event, month_after, webhook
from tests.support.eventually import eventually
from tests.support.stripe_proxy import Fault
from tests.support.webhook_signing import PROCESSOR_SECRET

if TYPE_CHECKING:
    from tests.services.subscription.subscription_mesh import SubscriptionMesh
    from tests.support.stripe_proxy import StripeProxy
    from tests.support.stripe_server import StripeServer

CREATE = ("POST /v1/subscriptions", "")
KEY = ((IDEMPOTENCY_KEY, "subscribe-with-stripe"),)
# Long enough for an answer of the local server.
SHORT_WAIT_S = 1.0


@pytest.mark.requirement("J4")
async def test_a_subscription_is_started_and_charged(
    stripe_mesh: SubscriptionMesh, stripe_server: StripeServer
) -> None:
    """A subscription without a trial is charged at once, by a payment method or by a token of a card."""
    first = await subscribe(stripe_mesh, stripe_server.add_card(GOOD), FOUR_HOURS)
    second = await subscribe(stripe_mesh, stripe_server.add_token(GOOD), FOUR_HOURS)

    assert paid(stripe_server) == [3900, 3900]
    assert {each["metadata"]["solo60_subscription_id"] for each in at_stripe(stripe_server)} == {
        first.subscription_id,
        second.subscription_id,
    }
    assert [plan["amount"] for plan in stripe_server.objects("plans")] == [3900]
    assert await stripe_mesh.status(first) == "ACTIVE"
    assert await stripe_mesh.balance(first.user_id) == 40


@pytest.mark.requirement("J4")
async def test_a_trial_is_not_charged(stripe_mesh: SubscriptionMesh, stripe_server: StripeServer) -> None:
    """A trial ends at Stripe at the same second as here, and nothing is charged."""
    new = await subscribe(stripe_mesh, stripe_server.add_card(GOOD), TEN_HOURS)

    assert paid(stripe_server) == []
    assert [each["trial_end"] for each in at_stripe(stripe_server)] == [new.trial_end_time.seconds]
    assert await stripe_mesh.status(new) == "TRIALING"


@pytest.mark.requirement("J4")
@pytest.mark.parametrize("number", [DECLINED, DECLINED_LATER])
async def test_a_declined_card_leaves_nothing(
    stripe_mesh: SubscriptionMesh, stripe_server: StripeServer, number: str
) -> None:
    """A declined card, and a token that Stripe does not know, start no subscription; the member may try again."""
    user_id = await stripe_mesh.create_member()
    for card in (stripe_server.add_card(number), "tok_unknown"):
        with pytest.raises(CardDeclined):
            await stripe_mesh.subscriptions.CreateSubscription(request_of(user_id, card, FOUR_HOURS))

    assert await stripe_mesh.fetch("subscription", "select from subscription_orders") == []
    good = request_of(user_id, stripe_server.add_card(GOOD), FOUR_HOURS)
    assert (await stripe_mesh.subscriptions.CreateSubscription(good)).subscription.user_id == user_id
    assert paid(stripe_server) == [3900]


@pytest.mark.requirement("J4")
async def test_webhooks_of_stripe_renew_and_end_a_subscription(
    stripe_mesh: SubscriptionMesh, stripe_server: StripeServer
) -> None:
    """Stripe delivers its webhooks to our endpoint: a paid month and the end."""
    stripe_server.send_webhooks(f"{stripe_mesh.http_url}/webhooks/stripe", PROCESSOR_SECRET, *EVENTS)
    new = await subscribe(stripe_mesh, stripe_server.add_card(GOOD), TEN_HOURS)
    [started] = at_stripe(stripe_server)

    stripe_server.renew(started)
    await wait_for_status(stripe_mesh, new, "ACTIVE")
    stripe_server.delete(f"/v1/subscriptions/{started['id']}")
    await wait_for_status(stripe_mesh, new, "EXPIRED")

    assert await stripe_mesh.balance(new.user_id) == 200
    held = "select event from webhooks where hold_reason is not null and processor_id = $1"
    assert await stripe_mesh.fetch("subscription", held, started["id"]) == []


@pytest.mark.requirement("J4")
@pytest.mark.parametrize("departure", ["left", "erased"])
async def test_the_subscription_of_a_departed_user_ends_at_stripe(
    stripe_mesh: SubscriptionMesh, stripe_server: StripeServer, departure: str
) -> None:
    """If a member leaves or is erased, the subscription ends at Stripe too, so the card is not charged again."""
    new = await subscribe(stripe_mesh, stripe_server.add_card(GOOD), FOUR_HOURS)

    if departure == "left":
        await stripe_mesh.subscriptions.OnUserLeft(OnUserLeftRequest(event=UserLeft(user_id=new.user_id)))
    else:
        await stripe_mesh.subscriptions.OnUserErased(OnUserErasedRequest(event=UserErased(user_id=new.user_id)))

    async def has_ended_at_stripe() -> bool:
        return [each["status"] for each in at_stripe(stripe_server)] == ["canceled"]

    await eventually(has_ended_at_stripe)


async def test_a_reported_end_cancels_nothing_at_stripe(
    stripe_mesh: SubscriptionMesh, stripe_server: StripeServer
) -> None:
    """If an operator attributes a held webhook about an end, the subscription ends here and is left alone at Stripe."""
    new = await subscribe(stripe_mesh, stripe_server.add_card(GOOD), FOUR_HOURS)
    with pytest.raises(SubscriptionNotFound):
        await stripe_mesh.deliver(webhook(event("ended", str(uuid4()), end_time=datetime.now(UTC)), "msg_1"))
    request = ResolveWebhookRequest(
        scheme=WEBHOOK_SCHEME_STANDARD, webhook_id="msg_1", subscription_id=new.subscription_id
    )

    await stripe_mesh.subscriptions.ResolveWebhook(request)

    async def is_synced() -> bool:
        calls = "select status from outbox where destination like '%/SyncCardProcessor'"
        return await stripe_mesh.fetch("subscription", calls) == [("delivered",)]

    await eventually(is_synced)
    assert await stripe_mesh.status(new) == "EXPIRED"
    assert [each["status"] for each in at_stripe(stripe_server)] == ["active"]


@pytest.mark.parametrize("fault", [Fault.LOSE_REQUEST, Fault.LOSE_ANSWER, Fault.FAIL, Fault.HANG])
async def test_an_unknown_outcome_of_a_start_is_resolved_by_the_same_key(
    stripe_mesh: SubscriptionMesh,
    stripe_server: StripeServer,
    proxy: StripeProxy,
    monkeypatch: pytest.MonkeyPatch,
    fault: Fault,
) -> None:
    """If Stripe's answer is lost, a repetition with the same key finds or starts the subscription, charged once."""
    request = request_of(await stripe_mesh.create_member(), stripe_server.add_card(GOOD), FOUR_HOURS)
    proxy.add_fault(*CREATE, fault)
    if fault is Fault.HANG:
        monkeypatch.setattr(card_processor, "MAX_WAIT_S", SHORT_WAIT_S)

    with pytest.raises(Unavailable):
        await stripe_mesh.subscriptions.CreateSubscription(request, metadata=KEY)
    first = await stripe_mesh.subscriptions.CreateSubscription(request, metadata=KEY)
    repeated = await stripe_mesh.subscriptions.CreateSubscription(request, metadata=KEY)

    assert first == repeated
    assert paid(stripe_server) == [3900]
    assert [each["metadata"]["solo60_subscription_id"] for each in at_stripe(stripe_server)] == [
        first.subscription.subscription_id
    ]
    assert await stripe_mesh.fetch("subscription", "select from subscription_orders") == []


async def test_webhooks_before_the_subscription_is_stored_take_effect_with_it(
    stripe_mesh: SubscriptionMesh, stripe_server: StripeServer, proxy: StripeProxy
) -> None:
    """A webhook about a subscription whose start had no answer is held, and takes effect once the start is repeated."""
    stripe_server.send_webhooks(f"{stripe_mesh.http_url}/webhooks/stripe", PROCESSOR_SECRET, *EVENTS)
    request = request_of(await stripe_mesh.create_member(), "pm_card_visa", FOUR_HOURS)
    proxy.add_fault(*CREATE, Fault.LOSE_ANSWER)
    held = "select hold_reason from webhooks where event is null and hold_reason is not null"
    with pytest.raises(Unavailable):
        await stripe_mesh.subscriptions.CreateSubscription(request, metadata=KEY)

    async def is_held() -> bool:
        return await stripe_mesh.fetch("subscription", held) != []

    await eventually(is_held)
    await stripe_mesh.subscriptions.CreateSubscription(request, metadata=KEY)

    assert await stripe_mesh.fetch("subscription", held) == []
    assert await stripe_mesh.balance(request.user_id) == 40


async def test_an_order_that_nobody_repeats_is_settled(
    stripe_mesh: SubscriptionMesh, stripe_server: StripeServer, proxy: StripeProxy
) -> None:
    """A minute after a lost answer, the subscription is stored if Stripe has started it, and dropped otherwise.

    Until then, another request for the user is rejected, so that no second card is charged.
    """
    requests = [request_of(await stripe_mesh.create_member(), "pm_card_visa", FOUR_HOURS) for _ in range(2)]
    for request, fault in zip(requests, (Fault.LOSE_ANSWER, Fault.LOSE_REQUEST), strict=True):
        proxy.add_fault(*CREATE, fault)
        with pytest.raises(Unavailable):
            await stripe_mesh.subscriptions.CreateSubscription(request, metadata=KEY)
        with pytest.raises(AlreadySubscribed):
            await stripe_mesh.subscriptions.CreateSubscription(request)
        other = request_of(request.user_id, "pm_card_visa", TEN_HOURS)
        with pytest.raises(IdempotencyKeyReused):
            await stripe_mesh.subscriptions.CreateSubscription(other, metadata=KEY)
        await stripe_mesh.advance_to(stripe_mesh.services.clock.now() + timedelta(minutes=1))

    assert paid(stripe_server) == [3900]
    assert await stripe_mesh.fetch("subscription", "select from subscription_orders") == []
    users = await stripe_mesh.fetch("subscription", "select user_id::text from subscriptions")
    assert users == [(requests[0].user_id,)]
    assert await stripe_mesh.balance(requests[0].user_id) == 40


async def test_an_order_dropped_during_its_request_is_stored(
    stripe_mesh: SubscriptionMesh, stripe_server: StripeServer, proxy: StripeProxy
) -> None:
    """A subscription that Stripe has started is stored, even if its order was dropped meanwhile."""
    request = request_of(await stripe_mesh.create_member(), "pm_card_visa", FOUR_HOURS)
    creating = asyncio.ensure_future(stripe_mesh.subscriptions.CreateSubscription(request))
    await eventually(lambda: bool(proxy.requests))
    await stripe_mesh.fetch("subscription", "delete from subscription_orders")

    new = (await creating).subscription

    assert await stripe_mesh.status(new) == "ACTIVE"
    assert paid(stripe_server) == [3900]


async def test_a_paid_order_of_a_user_who_has_left_is_cancelled(
    stripe_mesh: SubscriptionMesh, stripe_server: StripeServer, proxy: StripeProxy
) -> None:
    """If the user leaves before the order is settled, the subscription at Stripe is cancelled."""
    user_id = await stripe_mesh.create_member()
    proxy.add_fault(*CREATE, Fault.LOSE_ANSWER)
    with pytest.raises(Unavailable):
        await stripe_mesh.subscriptions.CreateSubscription(request_of(user_id, "pm_card_visa", TEN_HOURS))
    [(order,)] = await stripe_mesh.fetch("subscription", "select subscription_id::text from subscription_orders")
    await stripe_mesh.fetch("subscription", "insert into left_users values ($1::uuid, now())", user_id)
    proxy.add_fault("GET /v1/subscriptions", "", Fault.FAIL)
    settle = SettleSubscriptionOrderRequest(subscription_id=order)

    with pytest.raises(Unavailable):
        await stripe_mesh.subscriptions.SettleSubscriptionOrder(settle)
    for _ in range(2):
        await stripe_mesh.subscriptions.SettleSubscriptionOrder(settle)

    assert [each["status"] for each in at_stripe(stripe_server)] == ["canceled"]
    assert await stripe_mesh.fetch("subscription", "select from subscription_orders") == []
    assert await stripe_mesh.fetch("subscription", "select from subscriptions") == []


@pytest.mark.parametrize("fault", [Fault.LOSE_REQUEST, Fault.LOSE_ANSWER, Fault.FAIL, Fault.HANG])
async def test_a_cancellation_reaches_stripe_after_a_fault(
    stripe_mesh: SubscriptionMesh,
    stripe_server: StripeServer,
    proxy: StripeProxy,
    monkeypatch: pytest.MonkeyPatch,
    fault: Fault,
) -> None:
    """A planned end, its withdrawal and an end at once reach Stripe, also if it does not answer at first."""
    new = await subscribe(stripe_mesh, "pm_card_visa", FOUR_HOURS)
    if fault is Fault.HANG:
        monkeypatch.setattr(card_processor, "MAX_WAIT_S", SHORT_WAIT_S)

    async def planned() -> list[tuple[bool, str]]:
        await stripe_mesh.wait_until_settled()
        return [(each["cancel_at_period_end"], each["status"]) for each in at_stripe(stripe_server)]

    proxy.add_fault("POST /v1/subscriptions/", "", fault)
    await stripe_mesh.cancel(new, at_period_end=True)
    assert await planned() == [(True, "active")]
    proxy.add_fault("POST /v1/subscriptions/", "", fault)
    await stripe_mesh.subscriptions.ResumeSubscription(ResumeSubscriptionRequest(subscription_id=new.subscription_id))
    assert await planned() == [(False, "active")]
    proxy.add_fault("DELETE /v1/subscriptions/", "", fault)
    await stripe_mesh.cancel(new)
    assert await planned() == [(False, "canceled")]
    assert proxy.open_faults == 0


@pytest.mark.requirement("J4")
async def test_another_card_pays_the_open_invoice(
    stripe_mesh: SubscriptionMesh, stripe_server: StripeServer, proxy: StripeProxy
) -> None:
    """Another card pays the open invoice once, also after a lost answer; a declined card is reported."""
    new = await subscribe(stripe_mesh, stripe_server.add_card(DECLINED_LATER), TEN_HOURS)
    [started] = at_stripe(stripe_server)
    assert stripe_server.renew(started)["status"] == "open"
    # The invoice of the local server is for the trial, so its own webhook reports no failure of a later period.
    await stripe_mesh.deliver(webhook(event("payment_failed", new, period=month_after(new))))
    assert await stripe_mesh.status(new) == "PAST_DUE"

    def request(card_token: str) -> UpdatePaymentMethodRequest:
        method = PaymentMethod(card_token=card_token)
        return UpdatePaymentMethodRequest(subscription_id=new.subscription_id, payment_method=method)

    with pytest.raises(CardDeclined):
        await stripe_mesh.subscriptions.UpdatePaymentMethod(request(stripe_server.add_card(DECLINED)))
    with pytest.raises(CardDeclined):
        await stripe_mesh.subscriptions.UpdatePaymentMethod(request(stripe_server.add_card(DECLINED_LATER)))
    good = request(stripe_server.add_card(GOOD))
    proxy.add_fault("POST /v1/invoices/", "/pay", Fault.LOSE_ANSWER)
    with pytest.raises(Unavailable):
        await stripe_mesh.subscriptions.UpdatePaymentMethod(good, metadata=KEY)
    await stripe_mesh.subscriptions.UpdatePaymentMethod(good, metadata=KEY)

    assert paid(stripe_server) == [8900]


async def test_reports_that_never_arrived_are_fetched(
    stripe_mesh: SubscriptionMesh, stripe_server: StripeServer
) -> None:
    """Before a subscription becomes past due, the service asks Stripe for the payment or the end that it missed."""
    paid_one = await subscribe(stripe_mesh, stripe_server.add_card(GOOD), TEN_HOURS)
    [first] = at_stripe(stripe_server)
    stripe_server.renew(first)
    ended = await subscribe(stripe_mesh, stripe_server.add_card(GOOD), FOUR_HOURS)
    [second] = [each for each in at_stripe(stripe_server) if each["id"] != first["id"]]
    stripe_server.delete(f"/v1/subscriptions/{second['id']}")

    for each in (paid_one, ended, paid_one):
        await stripe_mesh.subscriptions.ReviewSubscription(
            ReviewSubscriptionRequest(subscription_id=each.subscription_id)
        )

    assert await stripe_mesh.status(paid_one) == "ACTIVE"
    assert await stripe_mesh.balance(paid_one.user_id) == 200
    assert await stripe_mesh.status(ended) == "EXPIRED"


async def test_twenty_requests_for_one_user_charge_once(
    stripe_mesh: SubscriptionMesh, stripe_server: StripeServer
) -> None:
    """Of twenty requests for one user at the same time, one starts a subscription and charges the card."""
    request = request_of(await stripe_mesh.create_member(), "pm_card_visa", FOUR_HOURS)

    answers = await asyncio.gather(
        *[stripe_mesh.subscriptions.CreateSubscription(request) for _ in range(20)], return_exceptions=True
    )

    assert sum(isinstance(answer, AlreadySubscribed) for answer in answers) == 19
    assert paid(stripe_server) == [3900]


async def test_a_fault_before_the_start_charges_nothing(
    stripe_mesh: SubscriptionMesh, stripe_server: StripeServer, proxy: StripeProxy
) -> None:
    """While Stripe fails before anything is started, the answer is Unavailable, and the member may try again later."""
    request = request_of(await stripe_mesh.create_member(), stripe_server.add_card(GOOD), TEN_HOURS)
    for beginning in ("GET /v1/plans", "POST /v1/customers", "POST /v1/payment_methods"):
        proxy.add_fault(beginning, "", Fault.FAIL)
        with pytest.raises(Unavailable):
            await stripe_mesh.subscriptions.CreateSubscription(request, metadata=KEY)

    new = (await stripe_mesh.subscriptions.CreateSubscription(request, metadata=KEY)).subscription

    assert proxy.open_faults == 0
    assert new.create_time.ToDatetime(UTC) + 14 * DAY == new.trial_end_time.ToDatetime(UTC)
    assert len(at_stripe(stripe_server)) == 1
