"""Commands that change subscriptions. A change and its follow-up messages are one transaction."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog

from contracts.errors import AlreadySubscribed, TrialUsed, UserNotActive
from mesh.outbox import publish
from services.subscription.domain import Mail, Status, begun
from services.subscription.mails import Letter
from services.subscription.plans import month_of
from services.subscription.reports import PaymentFailed, Renewed, TrialEnding
from services.subscription.wire import (
    render_activated_event,
    render_ended_event,
    render_payment_failed_event,
    render_renewed_event,
    render_resumed_event,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from uuid import UUID

    from services.subscription.domain import Subscription
    from services.subscription.follow_ups import FollowUps
    from services.subscription.reports import Report
    from services.subscription.store import Register, SubscriptionStore

UNWATCHED_AT_ONCE = 100

_log = structlog.stdlib.get_logger("solo60.subscription")


class Desk:
    """Commands that change subscriptions in the transaction of a `Register`. `now` returns the current time in UTC."""

    def __init__(self, follow_ups: FollowUps, now: Callable[[], datetime]) -> None:
        self._follow_ups = follow_ups
        self._now = now

    async def subscribe(
        self, register: Register, user_id: UUID, plan_id: UUID, *, trial_days: int | None
    ) -> Subscription:
        """Create a subscription. `trial_days` None: the plan's trial, or no trial if the user had one before.

        Raises PlanNotFound, AlreadySubscribed, TrialUsed if a second trial is requested, or UserNotActive if the user
        has left.
        """
        now = self._now()
        await register.queue_for(user_id)
        if await register.has_left(user_id):
            raise UserNotActive
        await self._close_lapsed(register, user_id, now)
        if trial_days != 0 and await register.had_trial(user_id):
            if trial_days is not None:
                raise TrialUsed
            trial_days = 0
        new = begun(uuid4(), user_id, await register.plan(plan_id), now, trial_days=trial_days)
        await register.add(new)
        await self._grant(register, new, new.first_period.start)
        await self._follow_ups.mail(register.connection, new, Letter(Mail.SUBSCRIPTION_ACTIVATED, now))
        await self._follow_ups.remind(register.connection, None, new, now)
        await self._follow_ups.review(register.connection, new)
        await publish(register.connection, render_activated_event(new))
        return new

    async def cancel(self, register: Register, subscription_id: UUID, *, at_period_end: bool) -> Subscription:
        """Cancel a subscription; raise SubscriptionNotFound or SubscriptionNotActive."""
        before = await register.lock(subscription_id)
        after = before.cancelled(self._now(), at_period_end=at_period_end)
        await self._change(register, before, after)
        return after

    async def resume(self, register: Register, subscription_id: UUID) -> Subscription:
        """Undo a planned cancellation.

        Raises SubscriptionNotFound, SubscriptionNotActive or SubscriptionNotCancelled.
        """
        before = await register.lock(subscription_id)
        after = before.resumed(self._now())
        await self._change(register, before, after)
        await self._follow_ups.mail(register.connection, after, Letter(Mail.SUBSCRIPTION_RESUMED, self._now()))
        await publish(register.connection, render_resumed_event(after))
        return after

    async def part_with(self, register: Register, user_id: UUID) -> None:
        """End the subscriptions of a departed user without a mail, and reject new ones from now on."""
        now = self._now()
        await register.queue_for(user_id)
        await register.note_left(user_id, now)
        for before in await register.lock_open(user_id, now):
            await self._change(register, before, before.closed(now), with_mail=False)

    async def review(self, register: Register, subscription_id: UUID) -> None:
        """Process the next deadline of a subscription if it has passed, and schedule the one after it.

        Raises SubscriptionNotFound.
        """
        before = await register.lock(subscription_id)
        due_time = before.review_time
        after = before if due_time is None or due_time > self._now() else replace(before, told_time=due_time)
        await self._follow_ups.review(register.connection, after)
        if after == before:
            return
        await register.save(after)
        _log.warning("payment not reported", subscription_id=str(subscription_id), status=after.status(self._now()))
        if due_time == after.deadlines.expired:
            await self._tell_of_end(register, after, due_time)
        elif not after.open_failure:
            await publish(register.connection, render_payment_failed_event(after))

    async def watch(self, register: Register, subscription_id: UUID) -> None:
        """Schedule the first deadline of a subscription that an older version stored."""
        before = await register.lock(subscription_id)
        if before.told_time is None and before.end_time is None:
            after = replace(before, told_time=before.create_time)
            await register.save(after)
            await self._follow_ups.review(register.connection, after)

    async def allocate(self, register: Register, subscription_id: UUID, month: str) -> int:
        """Grant the credits of billing periods that began in `month` and are not granted yet.

        Returns the total credits granted for the month, 0 if no known period began in it. Raises SubscriptionNotFound,
        or SubscriptionNotActive if a grant is missing but the status is neither ACTIVE nor TRIALING.
        """
        subscription = await register.lock(subscription_id)
        for period_start in subscription.allocations:
            if month_of(period_start) == month and not await register.grants.is_granted(subscription, period_start):
                subscription.ensure_takes_credits(self._now())
                await self._grant_with_mail(register, subscription, period_start)
        return await register.grants.credits_of_month(subscription_id, month)

    async def report(self, register: Register, subscription_id: UUID, report: Report) -> None:
        """Apply a report of the card processor; raise SubscriptionNotFound."""
        before = await register.lock(subscription_id)
        after = before.merged(report)
        await self._change(register, before, after)
        match report:
            case Renewed(period):
                # The member has paid, so the credits are granted even if the subscription is over.
                if after.is_over(self._now()):
                    _log.warning("ended subscription paid", subscription_id=str(subscription_id))
                await self._grant_with_mail(register, after, after.allocation_of(period))
            case TrialEnding():
                letter = Letter(Mail.TRIAL_ENDING, after.current_period.end)
                await self._mail_if_true(register, after, letter)

    async def _close_lapsed(self, register: Register, user_id: UUID, now: datetime) -> None:
        """Store the end of expired subscriptions, so that the user can subscribe again.

        Raises AlreadySubscribed if a subscription still runs.
        """
        for before in await register.lock_open(user_id, now):
            if not before.is_over(now):
                raise AlreadySubscribed
            await self._change(register, before, before.closed(now))

    async def _change(
        self, register: Register, before: Subscription, after: Subscription, *, with_mail: bool = True
    ) -> None:
        """Save a change and write its follow-up messages to the outbox; do nothing if nothing changed."""
        if after == before:
            return
        await register.save(after)
        await self._follow_ups.remind(register.connection, before, after, self._now())
        if after.review_time != before.review_time:
            await self._follow_ups.review(register.connection, after)
        if after.end_time is not None and after.end_time != before.end_time and not before.is_end_told:
            await self._tell_of_end(register, after, after.end_time, with_mail=with_mail)
        if after.paid_period != before.paid_period:
            await publish(register.connection, render_renewed_event(after))
        if after.failure is not None and after.failure != before.failure:
            await self._tell_of_failure(register, after, after.failure)

    async def _tell_of_end(
        self, register: Register, subscription: Subscription, end_time: datetime, *, with_mail: bool = True
    ) -> None:
        if with_mail:
            await self._follow_ups.mail(register.connection, subscription, Letter(Mail.SUBSCRIPTION_EXPIRED, end_time))
        await publish(register.connection, render_ended_event(subscription, end_time))

    async def _tell_of_failure(self, register: Register, subscription: Subscription, failure: PaymentFailed) -> None:
        if subscription.status(self._now()) is not Status.PAST_DUE:
            return
        await publish(register.connection, render_payment_failed_event(subscription))
        # Without a next attempt, the processor ends the subscription, and the member gets the mail about that end.
        if failure.retry_time is not None:
            await self._mail_if_true(register, subscription, Letter(Mail.PAYMENT_FAILED, failure.retry_time))

    async def _mail_if_true(self, register: Register, subscription: Subscription, letter: Letter) -> None:
        if subscription.is_worth_saying(letter.mail, letter.time, self._now()):
            await self._follow_ups.mail(register.connection, subscription, letter)

    async def _grant_with_mail(self, register: Register, subscription: Subscription, period_start: datetime) -> None:
        if await self._grant(register, subscription, period_start):
            letter = Letter(Mail.PAYMENT_SUCCESS, period_start, subscription.plan.credits_per_month)
            await self._follow_ups.mail(register.connection, subscription, letter)

    async def _grant(self, register: Register, subscription: Subscription, period_start: datetime) -> bool:
        """Record a grant and write its message to the payment service; return False if it was recorded before."""
        if not await register.grants.grant(subscription, period_start, self._now()):
            return False
        await self._follow_ups.grant(register.connection, subscription, period_start)
        return True


async def watch_older(store: SubscriptionStore, desk: Desk) -> None:
    """Schedule the deadlines of all subscriptions that an older version stored."""
    while ids := await store.unwatched(UNWATCHED_AT_ONCE):
        for subscription_id in ids:
            await store.run(partial(desk.watch, subscription_id=subscription_id))
