from __future__ import annotations

from datetime import UTC, timedelta
from itertools import permutations
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from contracts.errors import InvalidRequest, SubscriptionNotFound, WebhookNotFound
from mesh.data.integrity import find_broken_invariants
from services.subscription.reports import Period
from solo60.subscription.v1.subscription_pb2 import (
    WEBHOOK_EVENT_IGNORED,
    WEBHOOK_EVENT_RENEWED,
    WEBHOOK_SCHEME_CARD_PROCESSOR,
    WEBHOOK_SCHEME_STANDARD,
    ListHeldWebhooksRequest,
    ResolveWebhookRequest,
    Subscription,
    WebhookHoldReason,
)
from tests.services.subscription.invoices import PROCESSOR_ID, ApiVersion, invoice, line, processor_event
from tests.services.subscription.subscription_mesh import DAY, event, month_after, processor_webhook, webhook

if TYPE_CHECKING:
    from solo60.subscription.v1.subscription_pb2 import HeldWebhook
    from tests.services.subscription.subscription_fixture import SubscriptionFixture
    from tests.services.subscription.subscription_mesh import SubscriptionMesh

MONTH = 31 * DAY


def processor_invoice(subscription: Subscription, number: int = 1, event_id: str = "") -> bytes:
    """Return the paid invoice of a later period, which has only the processor's id of its subscription."""
    end = subscription.current_period.end_time.ToDatetime(UTC).replace(microsecond=0)
    period = Period(end + (number - 1) * MONTH, end + number * MONTH)
    bill = invoice(line(period, 3900, api=ApiVersion.V2020), api=ApiVersion.V2020)
    return processor_event("invoice.paid", bill, event_id=event_id)


def link_event(subscription: Subscription) -> bytes:
    """Return the event in which the processor links its own subscription id to our subscription."""
    metadata = {"solo60_subscription_id": subscription.subscription_id}
    data_object = {"object": "subscription", "id": PROCESSOR_ID, "metadata": metadata}
    return processor_event("customer.subscription.updated", data_object)


async def list_held(mesh: SubscriptionMesh) -> list[HeldWebhook]:
    """Return the held webhooks."""
    return list((await mesh.subscriptions.ListHeldWebhooks(ListHeldWebhooksRequest())).webhooks)


def resolve_request(webhook_id: str, **fields: Any) -> ResolveWebhookRequest:
    """Return a request that resolves a webhook of the card processor."""
    return ResolveWebhookRequest(**{"scheme": WEBHOOK_SCHEME_CARD_PROCESSOR, "webhook_id": webhook_id, **fields})


async def test_an_unattributable_renewal_is_held_and_listed(mesh: SubscriptionMesh) -> None:
    """A renewal without a known subscription is accepted, and listed as held with the reason and the processor's id."""
    new = await mesh.subscribe()

    assert await mesh.deliver(processor_webhook(processor_invoice(new, event_id="evt_1"))) == "UNATTRIBUTED"

    (shown,) = await list_held(mesh)
    assert (shown.scheme, shown.webhook_id) == (WEBHOOK_SCHEME_CARD_PROCESSOR, "evt_1")
    assert WebhookHoldReason.Name(shown.reason) == "WEBHOOK_HOLD_REASON_UNATTRIBUTED"
    assert shown.processor_subscription_id == PROCESSOR_ID
    assert await mesh.balance(new.user_id) == 40


async def test_a_fetched_event_that_cannot_be_parsed_is_held(fixture: SubscriptionFixture) -> None:
    """An unreadable event that the service has fetched is held, and the caller continues with the other events."""
    without_lines = processor_event("invoice.paid", invoice(), event_id="fetched_in_1")

    await fixture.webhook_handler.process_fetched(without_lines)

    assert await fixture.stored_events() == {"fetched_in_1": None}


async def test_an_operator_attributes_held_webhooks(mesh: SubscriptionMesh) -> None:
    """Resolving one held webhook applies all that wait for the same subscription, and later ones apply at once."""
    new = await mesh.subscribe()
    for number in (1, 2):
        await mesh.deliver(processor_webhook(processor_invoice(new, number, f"evt_{number}")))

    request = resolve_request("evt_1", subscription_id=new.subscription_id)
    answers = [await mesh.subscriptions.ResolveWebhook(request) for _ in range(2)]

    assert [answer.event for answer in answers] == [WEBHOOK_EVENT_RENEWED] * 2
    assert await list_held(mesh) == []
    assert await mesh.balance(new.user_id) == 120
    assert await mesh.deliver(processor_webhook(processor_invoice(new, 3))) == "RENEWED"
    assert await mesh.balance(new.user_id) == 160


async def test_a_dismissed_webhook_and_its_subscription_are_ignored(mesh: SubscriptionMesh) -> None:
    """Dismissing a webhook ignores every webhook of that subscription at the card processor, earlier and later ones."""
    new = await mesh.subscribe()
    bills = [processor_webhook(processor_invoice(new, number, f"evt_{number}")) for number in (1, 2, 3)]
    for bill in bills[:2]:
        await mesh.deliver(bill)

    answer = await mesh.subscriptions.ResolveWebhook(resolve_request("evt_1", dismiss=True))

    assert answer.event == WEBHOOK_EVENT_IGNORED
    assert await list_held(mesh) == []
    assert [await mesh.deliver(bill) for bill in bills] == ["IGNORED"] * 3
    resolved = await mesh.subscriptions.ResolveWebhook(resolve_request("evt_1", subscription_id=new.subscription_id))
    assert resolved.event == WEBHOOK_EVENT_IGNORED
    assert await mesh.balance(new.user_id) == 40


async def test_an_impossible_resolution_is_rejected(mesh: SubscriptionMesh) -> None:
    """A resolution is rejected if its webhook or subscription is unknown, its payload unreadable or a field missing."""
    new = await mesh.subscribe()
    await mesh.deliver(processor_webhook(processor_invoice(new, event_id="evt_1")))
    with pytest.raises(InvalidRequest):
        await mesh.deliver(processor_webhook(processor_event("invoice.paid", invoice(), event_id="evt_2")))

    for refused in (
        resolve_request("evt_0", dismiss=True),
        resolve_request("evt_0", subscription_id=new.subscription_id),
    ):
        with pytest.raises(WebhookNotFound):
            await mesh.subscriptions.ResolveWebhook(refused)
    with pytest.raises(SubscriptionNotFound):
        await mesh.subscriptions.ResolveWebhook(resolve_request("evt_1", subscription_id=str(uuid4())))
    for bad in (
        resolve_request("evt_2", subscription_id=new.subscription_id),
        resolve_request("evt_1"),
        resolve_request("", dismiss=True),
        resolve_request("evt_1", dismiss=False),
        resolve_request("evt_1", subscription_id="1"),
    ):
        with pytest.raises(InvalidRequest):
            await mesh.subscriptions.ResolveWebhook(bad)

    assert {(each.webhook_id, each.reason) for each in await list_held(mesh)} == {("evt_1", 1), ("evt_2", 3)}


async def test_a_webhook_for_an_unknown_subscription_is_held_until_resolved(mesh: SubscriptionMesh) -> None:
    """A webhook with an unknown subscription id is held, and applies to the subscription that an operator names."""
    new = await mesh.subscribe()
    lost = webhook(event("renewed", str(uuid4()), period=month_after(new)), "msg_1")
    with pytest.raises(SubscriptionNotFound):
        await mesh.deliver(lost)
    (shown,) = await list_held(mesh)
    assert WebhookHoldReason.Name(shown.reason) == "WEBHOOK_HOLD_REASON_UNKNOWN_SUBSCRIPTION"

    request = resolve_request("msg_1", scheme=WEBHOOK_SCHEME_STANDARD, subscription_id=new.subscription_id)
    assert (await mesh.subscriptions.ResolveWebhook(request)).event == WEBHOOK_EVENT_RENEWED
    assert await mesh.balance(new.user_id) == 80


async def test_held_webhooks_are_listed_in_pages(mesh: SubscriptionMesh) -> None:
    """A page size above the limit is reduced to it, and an invalid token or a negative size is rejected (AIP-158)."""
    new = await mesh.subscribe()
    for number in range(3):
        await mesh.deliver(processor_webhook(processor_invoice(new, event_id=f"evt_{number}")))

    first = await mesh.subscriptions.ListHeldWebhooks(ListHeldWebhooksRequest(page_size=2))
    token = first.next_page_token
    second = await mesh.subscriptions.ListHeldWebhooks(ListHeldWebhooksRequest(page_size=1000, page_token=token))

    ids = [[each.webhook_id for each in page.webhooks] for page in (first, second)]
    assert ids == [["evt_0", "evt_1"], ["evt_2"]]
    assert second.next_page_token == ""
    for bad in (ListHeldWebhooksRequest(page_token="x"), ListHeldWebhooksRequest(page_size=-1)):  # noqa: S106 - a cursor
        with pytest.raises(InvalidRequest):
            await mesh.subscriptions.ListHeldWebhooks(bad)


async def test_each_paid_period_is_granted_once_in_any_order(mesh: SubscriptionMesh) -> None:
    """Two renewals, one of them repeated, are granted once each, whenever the processor links their subscription."""
    users = []
    # The last two events report the same invoice, so their order does not matter.
    orders = [order for order in permutations(range(4)) if order.index(2) < order.index(3)]
    for order in orders:
        await mesh.fetch("subscription", "delete from processor_subscriptions")
        new = await mesh.subscribe()
        payloads = [link_event(new), processor_invoice(new, 1), processor_invoice(new, 2), processor_invoice(new, 2)]
        for number in (*order, order[0]):
            await mesh.deliver(processor_webhook(payloads[number]))
        users.append(new.user_id)

    assert [await mesh.balance(user_id) for user_id in users] == [120] * 12
    assert await list_held(mesh) == []


async def test_a_webhook_ignored_by_an_older_version_applies_when_resent(mesh: SubscriptionMesh) -> None:
    """A renewal that an older version ignored applies when the processor sends it again."""
    new = await mesh.subscribe()
    bill = processor_webhook(processor_invoice(new, event_id="evt_1"))
    await mesh.fetch(
        "subscription", "insert into webhooks values ('processor', 'evt_1', null, 'ignored', now() - interval '9 days')"
    )
    await mesh.deliver(processor_webhook(link_event(new)))

    assert await mesh.deliver(bill) == "RENEWED"
    assert await mesh.balance(new.user_id) == 80


@pytest.mark.breaks_invariants("violation_webhook_not_acted_upon")
async def test_operators_see_held_webhooks(fixture: SubscriptionFixture) -> None:
    """A held webhook is counted by a metric at once, and reported by `solo60 doctor` after an hour."""
    with pytest.raises(SubscriptionNotFound):
        await fixture.deliver(webhook(event("trial_ending", str(uuid4())), "msg_1"))
    labels = {"reason": "unknown_subscription"}
    assert fixture.metrics.get_sample_value("webhooks_held", labels) == 1

    async with fixture.database.connection() as connection:
        fresh = await find_broken_invariants(connection)
        await connection.execute("update webhooks set receive_time = receive_time - interval '2 hours'")
        found = await find_broken_invariants(connection)

    assert fresh == ()
    assert [(each.view, each.count) for each in found] == [("violation_webhook_not_acted_upon", 1)]
    assert '"webhook_id":"msg_1"' in found[0].examples[0]


async def test_a_held_webhook_is_stored_until_it_is_resolved(fixture: SubscriptionFixture) -> None:
    """A held webhook is still stored and resolvable after 60 days, because it may concern a payment."""
    new = await fixture.subscribe_new_user()
    with pytest.raises(SubscriptionNotFound):
        await fixture.deliver(webhook(event("trial_ending", str(uuid4())), "msg_1"))

    fixture.now += timedelta(days=60)
    await fixture.webhook_handler.tidy()
    (shown,) = await fixture.webhook_handler.list_held(10, after=None)
    await fixture.webhook_handler.resolve(shown.ref, new.subscription_id)

    assert await fixture.stored_events() == {"msg_1": "trial_ending"}
