from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from contracts.errors import InvalidRequest, SubscriptionNotFound, WebhookSignatureInvalid
from solo60.subscription.v1.subscription_pb2 import (
    SUBSCRIPTION_MAIL_RENEWAL_REMINDER,
    SUBSCRIPTION_MAIL_TRIAL_ENDING,
    ProcessWebhookRequest,
    SendSubscriptionMailRequest,
    Subscription,
)
from tests.services.subscription.subscription_mesh import (
    DAY,
    TEN_HOURS,
    event,
    month_after,
    processor_webhook,
    webhook,
)
from tests.services.subscription.test_webhook_payload import processor

if TYPE_CHECKING:
    from tests.services.subscription.subscription_mesh import SubscriptionMesh


def midnight(days: int) -> datetime:
    """Return midnight in UTC, `days` days from today."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + days * DAY


async def list_stored(mesh: SubscriptionMesh) -> list[Any]:
    """Return the webhooks in the inbox: whether their payload is still stored, and their event."""
    return await mesh.fetch("subscription", "select payload is not null, event from webhooks order by receive_time")


@pytest.mark.requirement("J4")
async def test_a_renewal_starts_the_next_period(mesh: SubscriptionMesh) -> None:
    """A renewal grants credits, sends one mail about them, and replaces the old renewal reminder by the next one."""
    new = await mesh.subscribe()
    period = month_after(new)

    assert await mesh.deliver(webhook(event("renewed", new, period=period))) == "RENEWED"

    now = await mesh.get(new)
    assert now.current_period.start_time == new.current_period.end_time
    assert await mesh.balance(new.user_id) == 80
    assert set(await mesh.mails()) == {"Welcome to Four hours", "40 credits for you"}
    end = now.current_period.end_time.ToDatetime(UTC)
    assert await mesh.reminders() == [(SUBSCRIPTION_MAIL_RENEWAL_REMINDER, end - days * DAY) for days in (7, 3)]


@pytest.mark.requirement("J4")
async def test_a_failed_payment_is_mailed_and_makes_the_subscription_past_due(mesh: SubscriptionMesh) -> None:
    """A failed payment makes the subscription past due, mails the time of the next attempt and withdraws the reminder.

    A payment makes the subscription active again.
    """
    new = await mesh.subscribe()
    period, retry_time = month_after(new), midnight(40)

    failed = webhook(event("payment_failed", new, period=period, retry_time=retry_time))
    assert await mesh.deliver(failed) == "PAYMENT_FAILED"

    assert await mesh.status(new) == "PAST_DUE"
    assert await mesh.reminders() == []
    mail = (await mesh.mails())["Your payment for Four hours failed"]
    assert f"{retry_time:%B %Y, %H:%M} (UTC)" in mail.body
    await mesh.deliver(webhook(event("renewed", new, period=period)))
    assert await mesh.status(new) == "ACTIVE"


async def test_a_failure_reported_after_its_payment_changes_nothing(mesh: SubscriptionMesh) -> None:
    """A failure that is reported after the renewal of its period changes no status and sends no mail."""
    new = await mesh.subscribe()
    period = month_after(new)
    await mesh.deliver(webhook(event("renewed", new, period=period)))
    before = await mesh.mails()

    await mesh.deliver(webhook(event("payment_failed", new, period=period, retry_time=midnight(40))))

    assert await mesh.status(new) == "ACTIVE"
    assert await mesh.mails() == before


@pytest.mark.requirement("J4")
async def test_the_end_of_a_trial_is_mailed_once(mesh: SubscriptionMesh) -> None:
    """The processor's webhook and our own reminder about the end of a trial lead to one mail."""
    new = await mesh.subscribe(TEN_HOURS)
    assert await mesh.deliver(webhook(event("trial_ending", new))) == "TRIAL_ENDING"
    request = SendSubscriptionMailRequest(
        subscription_id=new.subscription_id, mail=SUBSCRIPTION_MAIL_TRIAL_ENDING, time=new.trial_end_time
    )

    answers = [await mesh.subscriptions.SendSubscriptionMail(request) for _ in range(2)]

    assert [answer.sent for answer in answers] == [True, True]
    assert {subject[:24] for subject in await mesh.mails()} == {"Welcome to Ten hours", "Your trial of Ten hours "}


@pytest.mark.requirement("J4")
async def test_an_outdated_reminder_is_not_sent(mesh: SubscriptionMesh) -> None:
    """A reminder that is already on its way is not sent if the subscription was cancelled meanwhile."""
    new = await mesh.subscribe()
    request = SendSubscriptionMailRequest(
        subscription_id=new.subscription_id,
        mail=SUBSCRIPTION_MAIL_RENEWAL_REMINDER,
        time=new.current_period.end_time,
    )
    await mesh.cancel(new, at_period_end=True)
    before = await mesh.mails()

    assert not (await mesh.subscriptions.SendSubscriptionMail(request)).sent
    assert await mesh.mails() == before


@pytest.mark.requirement("J4")
async def test_two_reminders_are_sent_on_their_days(mesh: SubscriptionMesh) -> None:
    """The outbox sends the reminders 7 and 3 days before a renewal, without a scheduler."""
    new = await mesh.subscribe()
    end, sent = new.current_period.end_time.ToDatetime(UTC), []

    for days in (7, 3):
        await mesh.advance_to(end - days * DAY)
        sent.append([mail.subject for mail in await mesh.all_mails() if " renews on " in mail.subject])

    subject = f"Four hours renews on {end:%A} {end.day} {end:%B %Y, %H:%M} (UTC)"
    assert sent == [[subject], [subject, subject]]


@pytest.mark.requirement("J4")
async def test_an_end_is_mailed_once(mesh: SubscriptionMesh) -> None:
    """The processor's report of an end expires the subscription and sends one mail; a repetition changes nothing."""
    new = await mesh.subscribe()
    ended = event("ended", new, end_time=midnight(0))

    assert await mesh.deliver(webhook(ended)) == "ENDED"
    assert await mesh.deliver(webhook(ended)) == "ENDED"

    assert await mesh.status(new) == "EXPIRED"
    assert set(await mesh.mails()) == {"Welcome to Four hours", "Your subscription Four hours ends"}
    assert await mesh.reminders() == []


async def test_a_webhook_applies_once(mesh: SubscriptionMesh) -> None:
    """Ten concurrent deliveries of one webhook id with different signatures apply once."""
    new = await mesh.subscribe(TEN_HOURS)

    deliveries = [
        webhook(event("trial_ending", new), "msg_1", age=second * timedelta(seconds=1)) for second in range(10)
    ]
    answers = await asyncio.gather(*map(mesh.deliver, deliveries))

    assert answers == ["TRIAL_ENDING"] * 10
    assert await list_stored(mesh) == [(False, "trial_ending")]
    mails_left = "select 1 from outbox where destination ~ 'SendSubscriptionMail' and cancel_key is null"
    assert len(await mesh.fetch("subscription", mails_left)) == 2  # welcome and trial ending
    # Another event with the same id counts as a repetition.
    assert await mesh.deliver(webhook(event("renewed", new, period=month_after(new)), "msg_1")) == "TRIAL_ENDING"


@pytest.mark.requirement("J4")
async def test_a_granted_period_is_not_granted_again(mesh: SubscriptionMesh) -> None:
    """Webhooks with different ids that renew a period already granted make the trial active and grant nothing more."""
    new = await mesh.subscribe(TEN_HOURS)
    start = new.create_time.ToDatetime(UTC)
    period = {"start_time": start.isoformat(), "end_time": (start + 40 * DAY).isoformat()}

    answers = await asyncio.gather(*[mesh.deliver(webhook(event("renewed", new, period=period))) for _ in range(5)])

    assert answers == ["RENEWED"] * 5
    assert await mesh.status(new) == "ACTIVE"
    assert await mesh.balance(new.user_id) == 100
    assert set(await mesh.mails()) == {"Welcome to Ten hours"}


async def test_reordered_and_repeated_webhooks_lead_to_one_state(mesh: SubscriptionMesh) -> None:
    """Webhooks in any order, some repeated, lead to the same subscription, granted periods and reminder."""
    starts = [midnight(35 * number).isoformat() for number in range(4)]
    months = [{"start_time": start, "end_time": end} for start, end in pairwise(starts)]

    def events(subscription: Subscription) -> list[bytes]:
        attempts = [(midnight(35), midnight(38)), (midnight(38), midnight(41))]
        return [
            event("trial_ending", subscription),
            event("renewed", subscription, period=months[0]),
            event("renewed", subscription, period=months[1]),
            *[
                event("payment_failed", subscription, timestamp=time, period=months[2], retry_time=retry_time)
                for time, retry_time in attempts
            ],
            event("renewed", subscription, period=months[2]),
            event("payment_failed", subscription, timestamp=midnight(35), period=months[1], retry_time=midnight(36)),
            event("paused", subscription),
        ]

    rng = random.Random(60)  # noqa: S311 - nothing secret
    states = []
    for number in range(6):
        new = await mesh.subscribe(TEN_HOURS)
        deliveries = [webhook(payload) for payload in events(new)]
        repeated = [*deliveries, *rng.sample(deliveries, 3)] if number else deliveries
        for delivery in rng.sample(repeated, len(repeated)) if number else repeated:
            await mesh.deliver(delivery)
        states.append(await state_of(mesh, new))

    assert len({repr(state) for state in states}) == 1
    assert str(months[2]["start_time"])[:10] in repr(states[0])


async def state_of(mesh: SubscriptionMesh, subscription: Subscription) -> list[Any]:
    """Return everything stored about a subscription except its ids, and its scheduled reminder."""
    await mesh.wait_until_settled()
    stored = "select paid_period::text, failed_period_start, fail_time, retry_time, end_time from subscriptions"
    state = await mesh.fetch("subscription", f"{stored} where subscription_id = $1::uuid", subscription.subscription_id)
    granted = """
        select period_start, credits from granted_periods join subscriptions using (subscription_id)
        where subscription_id = $1::uuid and period_start <> lower(first_period) order by period_start
    """
    key = f"reminder/{subscription.subscription_id}"
    reminders = "select deliver_time from outbox where cancel_key = $1"
    return [
        *state,
        *await mesh.fetch("subscription", granted, subscription.subscription_id),
        *await mesh.fetch("subscription", reminders, key),
    ]


async def test_a_webhook_that_cannot_apply_is_stored_and_applies_later(mesh: SubscriptionMesh) -> None:
    """A webhook for an unknown subscription and an unreadable one are stored. The first applies once its id exists."""
    new = await mesh.subscribe()
    early = webhook(event("renewed", str(uuid4()), period=month_after(new)))
    unreadable = webhook(b'{"type": "subscription.renewed", "data": {"subscription_id": "hunter2"}}')

    with pytest.raises(SubscriptionNotFound):
        await mesh.deliver(early)
    with pytest.raises(InvalidRequest) as refused:
        await mesh.deliver(unreadable)

    assert [violation.field for violation in refused.value.violations] == ["payload"]
    assert "hunter2" not in str(refused.value)
    assert await list_stored(mesh) == [(True, None), (True, None)]
    change = "update webhooks set payload = replace(convert_from(payload, 'utf8'), $1, $2)::bytea where webhook_id = $3"
    missing = early.payload.decode().partition('"subscription_id":"')[2][:36]
    await mesh.fetch("subscription", change, missing, new.subscription_id, early.webhook_id)
    assert await mesh.deliver(early) == "RENEWED"
    assert await list_stored(mesh) == [(False, "renewed"), (True, None)]


async def test_the_card_processors_own_webhooks_apply(mesh: SubscriptionMesh) -> None:
    """A webhook of the card processor applies once by the id in its signed body, which a replay cannot change."""
    new = await mesh.subscribe(TEN_HOURS)
    metadata = {"solo60_subscription_id": new.subscription_id}
    period = {"start": int(midnight(14).timestamp()), "end": int(midnight(45).timestamp())}
    invoice = {
        "object": "invoice",
        "parent": {"subscription_details": {"metadata": metadata}},
        "lines": {"data": [{"period": period}]},
    }
    paid = processor_webhook(processor("invoice.paid", **invoice))

    assert [await mesh.deliver(paid), await mesh.deliver(paid)] == ["RENEWED", "RENEWED"]

    assert await mesh.status(new) == "ACTIVE"
    assert (await mesh.get(new)).current_period.end_time.seconds == period["end"]
    assert await mesh.fetch("subscription", "select scheme, webhook_id from webhooks") == [("processor", "evt_1")]
    # The schemes share neither ids nor keys.
    confused = ProcessWebhookRequest(payload=paid.payload, signature=paid.signature, webhook_id="evt_1", timestamp="1")
    with pytest.raises(WebhookSignatureInvalid):
        await mesh.deliver(confused)
