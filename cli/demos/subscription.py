"""Story of a subscriber: trial, renewals, credits, a blocked card, cancellation and resumption, in two months."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cli.demos.evidence import spans_of, traced
from cli.demos.passage import Passage, passage_of
from cli.demos.payment_methods import GOOD_CARD, WITH_CREDITS
from cli.demos.wording import day, price, slot, status
from cli.gyms import FIELD_STREET
from cli.terminal import CommandError
from solo60.payment.v1.payment_pb2 import (
    CreditEntryKind,
    GetBalanceRequest,
    ListCreditEntriesRequest,
)
from solo60.subscription.v1.subscription_pb2 import (
    CancelSubscriptionRequest,
    CreateSubscriptionRequest,
    GetSubscriptionRequest,
    ListPlansRequest,
    PaymentMethod,
    Plan,
    ResumeSubscriptionRequest,
    Subscription,
    SubscriptionStatus,
    UpdatePaymentMethodRequest,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cli.demos.stage import Stage
    from cli.demos.story import Fact, Person, Step

PLAN = "Ten hours"
# Stripe accepts this test card, but every charge fails.
BLOCKED_CARD = "tok_chargeCustomerFail"
DAY = timedelta(days=1)
# Test mode tries a failed charge again after this time.
FIRST_RETRY = 3 * DAY


@dataclass(frozen=True, slots=True)
class Subscriber:
    """Member of the story, with the subscription and its plan."""

    stage: Stage
    person: Person
    plan: Plan
    subscription_id: str

    async def subscription(self) -> Subscription:
        """Return the subscription."""
        request = GetSubscriptionRequest(subscription_id=self.subscription_id)
        return (await self.stage.subscriptions.GetSubscription(request)).subscription

    async def period_end(self) -> datetime:
        """Return the end of the current period."""
        return (await self.subscription()).current_period.end_time.ToDatetime(UTC)

    async def use_card(self, token: str) -> None:
        """Replace the card of the subscription."""
        method = PaymentMethod(card_token=token)
        request = UpdatePaymentMethodRequest(subscription_id=self.subscription_id, payment_method=method)
        await self.stage.subscriptions.UpdatePaymentMethod(request)

    async def cancel(self) -> None:
        """Cancel the subscription at the end of its period."""
        request = CancelSubscriptionRequest(subscription_id=self.subscription_id, at_period_end=True)
        await self.stage.subscriptions.CancelSubscription(request)

    async def facts(self, **facts: Fact) -> dict[str, Fact]:
        """Return the facts of every step: status, end of the period, credits, and their next expiry."""
        found = await self.subscription()
        request = GetBalanceRequest(user_id=self.person.user_id)
        balance = await self.stage.payments.GetBalance(request)
        expiry: dict[str, Fact] = {}
        if balance.HasField("next_expire_time"):
            expires = balance.next_expire_time.ToDatetime(UTC)
            expiry = {"next_expire_credits": balance.next_expire_credits, "next_expire_time": expires}
        return {
            "status": status(SubscriptionStatus.Name(found.status)),
            "period_end": found.current_period.end_time.ToDatetime(UTC),
            **facts,
            "credits": balance.credits,
            **expiry,
        }


async def subscription(stage: Stage) -> AsyncIterator[Step]:
    """Tell the story. It moves the clock of the mesh by about 75 days."""
    async with passage_of(stage) as passage:
        person, plan = await stage.member("Sam Subscriber"), await _plan(stage)
        request = CreateSubscriptionRequest(
            user_id=person.user_id, plan_id=plan.plan_id, payment_method=PaymentMethod(card_token=GOOD_CARD)
        )
        with traced("subscription") as trace_id:
            created = (await stage.subscriptions.CreateSubscription(request)).subscription
        sam = Subscriber(stage, person, plan, created.subscription_id)
        await passage.settle()
        yield stage.step(
            "subscribed",
            f"Sam subscribes to {plan.name}: {plan.trial_days} days of trial, then {price(plan.price)} a month.",
            await sam.facts(),
            mails=await stage.inbox.wait_for(person),
            spans=await spans_of(stage.settings, trace_id, ["subscription", "payment", "user", "communication"]),
        )
        for part in (_trial, _renewal, _failed_payment, _end):
            async for step in part(sam, passage):
                yield step


async def _trial(sam: Subscriber, passage: Passage) -> AsyncIterator[Step]:
    stage, trial_end = sam.stage, await sam.period_end()
    await passage.to(trial_end - 3 * DAY)
    yield stage.step(
        "trial ending",
        "Three days before the trial ends, Sam gets a mail. Nothing has been charged yet.",
        await sam.facts(),
        mails=await stage.inbox.wait_for(sam.person),
    )
    await passage.to(trial_end)
    yield stage.step(
        "first charge",
        f"The trial is over, and the card is charged {price(sam.plan.price)}. Sam gets the credits of the first month.",
        await sam.facts(),
        mails=await stage.inbox.wait_for(sam.person),
    )
    gym = await stage.gym(FIELD_STREET)
    session = await stage.book(sam.person, gym, WITH_CREDITS)
    yield stage.step(
        "booked",
        f"Sam books {gym.name} for {slot(session.period)}. The credits that expire first are spent first.",
        await sam.facts(spent=session.credits),
        mails=await stage.inbox.wait_for(sam.person, 2),
    )


async def _renewal(sam: Subscriber, passage: Passage) -> AsyncIterator[Step]:
    stage, period_end = sam.stage, await sam.period_end()
    for days in (7, 3):
        await passage.to(period_end - days * DAY)
        yield stage.step(
            f"reminder {days} days",
            f"{days} days before the renewal, Sam gets a reminder.",
            await sam.facts(),
            mails=await stage.inbox.wait_for(sam.person),
        )
    await sam.use_card(BLOCKED_CARD)
    yield stage.step("card blocked", "Sam changes to another card, which the bank blocks.", await sam.facts())


async def _failed_payment(sam: Subscriber, passage: Passage) -> AsyncIterator[Step]:
    stage, period_end = sam.stage, await sam.period_end()
    await passage.to(period_end)
    yield stage.step(
        "payment failed",
        "The renewal fails. Sam gets no new credits, and what is left of the trial's credits expires.",
        await sam.facts(),
        mails=await stage.inbox.wait_for(sam.person),
    )
    await passage.to(period_end + FIRST_RETRY)
    yield stage.step(
        "payment failed again",
        "The second attempt fails, too. The mail says when the next one follows.",
        await sam.facts(),
        mails=await stage.inbox.wait_for(sam.person),
    )
    await passage.to(period_end + FIRST_RETRY + DAY)
    await sam.use_card(GOOD_CARD)
    await passage.settle()
    yield stage.step(
        "recovered",
        f"Sam enters a good card. It is charged {price(sam.plan.price)} at once, and the subscription goes on.",
        await sam.facts(),
        mails=await stage.inbox.wait_for(sam.person),
    )


async def _end(sam: Subscriber, passage: Passage) -> AsyncIterator[Step]:
    stage, period_end = sam.stage, await sam.period_end()
    await sam.cancel()
    yield stage.step(
        "cancelled",
        f"Sam cancels at the end of the period, on {day(period_end)}.",
        await sam.facts(),
        mails=await stage.inbox.wait_for(sam.person),
    )
    await passage.to(stage.clock.now() + DAY)
    await stage.subscriptions.ResumeSubscription(ResumeSubscriptionRequest(subscription_id=sam.subscription_id))
    yield stage.step(
        "resumed",
        "A day later Sam withdraws the cancellation.",
        await sam.facts(),
        mails=await stage.inbox.wait_for(sam.person),
    )
    await passage.to(stage.clock.now() + DAY)
    await sam.cancel()
    yield stage.step(
        "cancelled again",
        "Another day later Sam cancels for good.",
        await sam.facts(),
        mails=await stage.inbox.wait_for(sam.person),
    )
    await passage.to(period_end)
    yield stage.step(
        "ended",
        "The subscription ends, and nothing more is charged. The credits of the last month stay for another month.",
        await sam.facts(),
    )
    yield stage.step("ledger", "Every credit is accounted for.", await _ledger(sam))


async def _plan(stage: Stage) -> Plan:
    for plan in (await stage.subscriptions.ListPlans(ListPlansRequest())).plans:
        if plan.name == PLAN:
            return plan
    raise CommandError(f"There is no plan {PLAN}.")


async def _ledger(sam: Subscriber) -> dict[str, Fact]:
    """Return the sums of the member's credit entries by kind, and the balance after the last one."""
    request = ListCreditEntriesRequest(user_id=sam.person.user_id, page_size=100)
    entries = (await sam.stage.payments.ListCreditEntries(request)).entries
    kinds = {
        "issued": CreditEntryKind.CREDIT_ENTRY_KIND_ISSUE,
        "spent": CreditEntryKind.CREDIT_ENTRY_KIND_SPEND,
        "expired": CreditEntryKind.CREDIT_ENTRY_KIND_EXPIRY,
    }
    sums = {name: sum(each.credits for each in entries if each.kind == kind) for name, kind in kinds.items()}
    return {**sums, "balance": entries[0].balance_after}
