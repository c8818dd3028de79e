"""The desk: begins, ends and changes subscriptions, each with all that follows from it in one transaction."""

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
from services.subscription.messages import activated_event, ended_event, failed_event, renewed_event, resumed_event
from services.subscription.plans import month_of
from services.subscription.reports import PaymentFailed, Renewed, TrialEnding

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
    """Changes subscriptions, each time within the transaction of a register; `now` is the current time in UTC."""

    def __init__(self, follow_ups: FollowUps, now: Callable[[], datetime]) -> None:
        self._follow_ups = follow_ups
        self._now = now

    async def subscribe(
        self, register: Register, user_id: UUID, plan_id: UUID, *, trial_days: int | None
    ) -> Subscription:
        """Begin a subscription. Without `trial_days`, a user who never had a trial gets that of the plan.

        Raises PlanNotFound, AlreadySubscribed, TrialUsed if a second trial is asked for, or UserNotActive if the user
        has left meanwhile.
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
        await publish(register.connection, activated_event(new))
        return new

    async def cancel(self, register: Register, subscription_id: UUID, *, at_period_end: bool) -> Subscription:
        """Give a subscription its end; raise SubscriptionNotFound or SubscriptionNotActive."""
        before = await register.lock(subscription_id)
        after = before.cancelled(self._now(), at_period_end=at_period_end)
        await self._change(register, before, after)
        return after

    async def resume(self, register: Register, subscription_id: UUID) -> Subscription:
        """Take a planned cancellation back.

        Raises SubscriptionNotFound, SubscriptionNotActive or SubscriptionNotCancelled.
        """
        before = await register.lock(subscription_id)
        after = before.resumed(self._now())
        await self._change(register, before, after)
        await self._follow_ups.mail(register.connection, after, Letter(Mail.SUBSCRIPTION_RESUMED, self._now()))
        await publish(register.connection, resumed_event(after))
        return after

    async def part_with(self, register: Register, user_id: UUID) -> None:
        """End the subscriptions of a user who has left, without a mail; none can be begun any more."""
        now = self._now()
        await register.queue_for(user_id)
        await register.note_left(user_id, now)
        for before in await register.lock_open(user_id, now):
            await self._change(register, before, before.closed(now), with_mail=False)

    async def review(self, register: Register, subscription_id: UUID) -> None:
        """Act upon a passed deadline of a subscription, and leave the next one to the outbox.

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
            await publish(register.connection, failed_event(after))

    async def watch(self, register: Register, subscription_id: UUID) -> None:
        """Leave to the outbox the deadlines of a subscription that an older version stored."""
        before = await register.lock(subscription_id)
        if before.told_time is None and before.end_time is None:
            after = replace(before, told_time=before.create_time)
            await register.save(after)
            await self._follow_ups.review(register.connection, after)

    async def allocate(self, register: Register, subscription_id: UUID, month: str) -> int:
        """Grant the credits of the billing periods that began in a month and brought none yet.

        Return the credits of all of them; 0 if no known period began in the month. Raises SubscriptionNotFound, or
        SubscriptionNotActive where credits are to be granted and nothing is paid.
        """
        subscription = await register.lock(subscription_id)
        for period_start in subscription.allocations:
            if month_of(period_start) == month and not await register.grants.is_granted(subscription, period_start):
                subscription.ensure_takes_credits(self._now())
                await self._grant_with_mail(register, subscription, period_start)
        return await register.grants.credits_of_month(subscription_id, month)

    async def report(self, register: Register, subscription_id: UUID, report: Report) -> None:
        """Act upon a report of the card processor; raise SubscriptionNotFound."""
        before = await register.lock(subscription_id)
        after = before.merged(report)
        await self._change(register, before, after)
        match report:
            case Renewed(period):
                # Paid is paid, however late it is told and whatever has become of the subscription.
                if after.is_over(self._now()):
                    _log.warning("ended subscription paid", subscription_id=str(subscription_id))
                await self._grant_with_mail(register, after, after.allocation_of(period))
            case TrialEnding():
                letter = Letter(Mail.TRIAL_ENDING, after.current_period.end)
                await self._mail_if_true(register, after, letter)

    async def _close_lapsed(self, register: Register, user_id: UUID, now: datetime) -> None:
        """Make an end by the clock final, so that the user can subscribe again; raise AlreadySubscribed without one."""
        for before in await register.lock_open(user_id, now):
            if not before.is_over(now):
                raise AlreadySubscribed
            await self._change(register, before, before.closed(now))

    async def _change(
        self, register: Register, before: Subscription, after: Subscription, *, with_mail: bool = True
    ) -> None:
        """Save a change, and leave to the outbox all that follows from each part of it."""
        if after == before:
            return
        await register.save(after)
        await self._follow_ups.remind(register.connection, before, after, self._now())
        if after.review_time != before.review_time:
            await self._follow_ups.review(register.connection, after)
        if after.end_time is not None and after.end_time != before.end_time and not before.is_end_told:
            await self._tell_of_end(register, after, after.end_time, with_mail=with_mail)
        if after.paid_period != before.paid_period:
            await publish(register.connection, renewed_event(after))
        if after.failure is not None and after.failure != before.failure:
            await self._tell_of_failure(register, after, after.failure)

    async def _tell_of_end(
        self, register: Register, subscription: Subscription, end_time: datetime, *, with_mail: bool = True
    ) -> None:
        if with_mail:
            await self._follow_ups.mail(register.connection, subscription, Letter(Mail.SUBSCRIPTION_EXPIRED, end_time))
        await publish(register.connection, ended_event(subscription, end_time))

    async def _tell_of_failure(self, register: Register, subscription: Subscription, failure: PaymentFailed) -> None:
        if subscription.status(self._now()) is not Status.PAST_DUE:
            return
        await publish(register.connection, failed_event(subscription))
        # After the last attempt the processor ends the subscription, and the mail about that says it.
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
        """Grant the credits of a billing period once: the note and the message to payment are one transaction."""
        if not await register.grants.grant(subscription, period_start, self._now()):
            return False
        await self._follow_ups.grant(register.connection, subscription, period_start)
        return True


async def watch_older(store: SubscriptionStore, desk: Desk) -> None:
    """Leave to the outbox the deadlines of all subscriptions that an older version stored."""
    while ids := await store.unwatched(UNWATCHED_AT_ONCE):
        for subscription_id in ids:
            await store.run(partial(desk.watch, subscription_id=subscription_id))
