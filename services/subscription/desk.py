"""The desk: begins, ends and changes subscriptions, each with all that follows from it in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from mesh.outbox import publish
from services.subscription.domain import (
    Mail,
    Status,
    begun,
    month_of,
)
from services.subscription.mails import Letter
from services.subscription.messages import activated_event, ended_event, failed_event, renewed_event
from services.subscription.reports import PaymentFailed, Renewed, TrialEnding

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from uuid import UUID

    from services.subscription.domain import Subscription
    from services.subscription.follow_ups import FollowUps
    from services.subscription.reports import Report
    from services.subscription.store import Register


class Desk:
    """Changes subscriptions, each time within the transaction of a register; `now` is the current time in UTC."""

    def __init__(self, follow_ups: FollowUps, now: Callable[[], datetime]) -> None:
        self._follow_ups = follow_ups
        self._now = now

    async def subscribe(
        self, register: Register, user_id: UUID, plan_id: UUID, *, trial_days: int | None
    ) -> Subscription:
        """Begin a subscription; raise PlanNotFound or AlreadySubscribed."""
        now = self._now()
        new = begun(uuid4(), user_id, await register.plan(plan_id), now, trial_days=trial_days)
        await register.add(new)
        await self._grant(register, new, new.first_period.start)
        await self._follow_ups.mail(register.connection, new, Letter(Mail.SUBSCRIPTION_ACTIVATED, now))
        await self._follow_ups.remind(register.connection, None, new, now)
        await publish(register.connection, activated_event(new))
        return new

    async def cancel(self, register: Register, subscription_id: UUID, *, at_period_end: bool) -> Subscription:
        """Give a subscription its end; raise SubscriptionNotFound or SubscriptionNotActive."""
        before = await register.lock(subscription_id)
        after = before.cancelled(self._now(), at_period_end=at_period_end)
        await self._change(register, before, after)
        return after

    async def allocate(self, register: Register, subscription_id: UUID, month: str) -> int:
        """Grant the credits of the billing periods that began in a month and brought none yet.

        Return the credits of all of them; 0 if no known period began in the month. Raises SubscriptionNotFound, or
        SubscriptionNotActive where credits are to be granted and nothing is paid.
        """
        subscription = await register.lock(subscription_id)
        for period_start in subscription.allocations:
            if month_of(period_start) == month and not await register.is_granted(subscription, period_start):
                subscription.ensure_takes_credits(self._now())
                await self._grant_with_mail(register, subscription, period_start)
        return await register.credits_of_month(subscription_id, month)

    async def report(self, register: Register, subscription_id: UUID, report: Report) -> None:
        """Act upon a report of the card processor; raise SubscriptionNotFound."""
        before = await register.lock(subscription_id)
        after = before.merged(report)
        await self._change(register, before, after)
        match report:
            case Renewed(period):
                # Paid is paid, however late it is told and whatever has become of the subscription.
                await self._grant_with_mail(register, after, after.allocation_of(period))
            case TrialEnding():
                letter = Letter(Mail.TRIAL_ENDING, after.current_period.end)
                await self._mail_if_true(register, after, letter)

    async def _change(self, register: Register, before: Subscription, after: Subscription) -> None:
        """Keep a change, and see to what follows from each part of it."""
        if after == before:
            return
        await register.save(after)
        await self._follow_ups.remind(register.connection, before, after, self._now())
        if after.end_time is not None and after.end_time != before.end_time:
            letter = Letter(Mail.SUBSCRIPTION_EXPIRED, after.end_time)
            await self._follow_ups.mail(register.connection, after, letter)
            await publish(register.connection, ended_event(after, after.end_time))
        if after.paid_period != before.paid_period:
            await publish(register.connection, renewed_event(after))
        if after.failure is not None and after.failure != before.failure:
            await self._tell_of_failure(register, after, after.failure)

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
        if not await register.grant(subscription, period_start, self._now()):
            return False
        await self._follow_ups.grant(register.connection, subscription, period_start)
        return True
