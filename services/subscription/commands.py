"""Commands that change subscriptions. A change and its follow-up messages are one transaction."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog

from contracts.errors import AlreadySubscribed, TrialUsed, UserNotActive
from mesh.data.conflicts import retried_on_conflict
from services.subscription.domain import MailKind, SubscriptionStatus
from services.subscription.grants import expire_time_of
from services.subscription.mails import MemberMail
from services.subscription.months import month_of
from services.subscription.order import Order
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
    from services.subscription.store import SubscriptionStore, SubscriptionTransaction

SCHEDULING_BATCH_SIZE = 100

_log = structlog.stdlib.get_logger("solo60.subscription")


class SubscriptionCommands:
    """Commands that change subscriptions, each in the given transaction. `now` returns the current time in UTC."""

    def __init__(self, follow_ups: FollowUps, now: Callable[[], datetime]) -> None:
        self._follow_ups = follow_ups
        self._now = now

    async def order(
        self, tx: SubscriptionTransaction, user_id: UUID, plan_id: UUID, *, trial_days: int | None
    ) -> Order:
        """Return the checked order of a subscription, which is not stored yet. The caller holds the user's lock.

        Without `trial_days`, it has the plan's trial, or none if the user had a trial before. Raises PlanNotFound,
        AlreadySubscribed, TrialUsed if a second trial is requested, or UserNotActive if the user has left.
        """
        plan = await tx.plan(plan_id)
        if trial_days is None:
            trial_days = 0 if await tx.had_trial(user_id) else plan.trial_days
        new = Order(uuid4(), user_id, plan, trial_days, self._now())
        await self._require_allowed(tx, new)
        return new

    async def subscribe(self, tx: SubscriptionTransaction, order: Order) -> Subscription:
        """Create the subscription of an order. Raises AlreadySubscribed, TrialUsed or UserNotActive."""
        await tx.lock_user(order.user_id)
        await self._require_allowed(tx, order)
        new = order.subscription()
        await tx.add(new)
        await self._grant(tx, new, new.first_period.start)
        await self._follow_ups.mail(tx, new, MemberMail(MailKind.SUBSCRIPTION_ACTIVATED, new.create_time))
        await self._follow_ups.remind(tx, None, new, self._now())
        await self._follow_ups.review(tx, new)
        await self._follow_ups.bill(tx, None, new)
        await tx.publish(render_activated_event(new))
        return new

    async def _require_allowed(self, tx: SubscriptionTransaction, order: Order) -> None:
        if await tx.has_left(order.user_id):
            raise UserNotActive
        await self._close_expired(tx, order.user_id, self._now())
        if order.trial_days and await tx.had_trial(order.user_id):
            raise TrialUsed

    async def cancel(self, tx: SubscriptionTransaction, subscription_id: UUID, *, at_period_end: bool) -> Subscription:
        """Cancel a subscription; raise SubscriptionNotFound or SubscriptionNotActive."""
        before = await tx.lock(subscription_id)
        after = before.cancelled(self._now(), at_period_end=at_period_end)
        await self._save_change(tx, before, after)
        return after

    async def resume(self, tx: SubscriptionTransaction, subscription_id: UUID) -> Subscription:
        """Undo a planned cancellation.

        Raises SubscriptionNotFound, SubscriptionNotActive or SubscriptionNotCancelled.
        """
        before = await tx.lock(subscription_id)
        after = before.resumed(self._now())
        await self._save_change(tx, before, after)
        await self._follow_ups.mail(tx, after, MemberMail(MailKind.SUBSCRIPTION_RESUMED, self._now()))
        await tx.publish(render_resumed_event(after))
        return after

    async def end_for_departed_user(self, tx: SubscriptionTransaction, user_id: UUID) -> None:
        """End the subscriptions of a departed user without a mail, and reject new ones from now on."""
        now = self._now()
        await tx.lock_user(user_id)
        await tx.record_departure(user_id, now)
        for before in await tx.lock_open(user_id, now):
            await self._save_change(tx, before, before.closed(now), with_mail=False)

    async def review(self, tx: SubscriptionTransaction, subscription_id: UUID) -> None:
        """Process the next deadline of a subscription if it has passed, and schedule the one after it.

        Raises SubscriptionNotFound.
        """
        before = await tx.lock(subscription_id)
        due_time = before.review_time
        after = before if due_time is None or due_time > self._now() else replace(before, processed_deadline=due_time)
        await self._follow_ups.review(tx, after)
        if after == before:
            return
        await tx.save(after)
        _log.warning("payment not reported", subscription_id=str(subscription_id), status=after.status(self._now()))
        if due_time == after.deadlines.expired:
            await self._announce_end(tx, after, due_time)
        elif not after.open_failure:
            await tx.publish(render_payment_failed_event(after))

    async def schedule_deadlines(self, tx: SubscriptionTransaction, subscription_id: UUID) -> None:
        """Schedule the first deadline of a subscription that an older version stored."""
        before = await tx.lock(subscription_id)
        if before.processed_deadline is None and before.end_time is None:
            after = replace(before, processed_deadline=before.create_time)
            await tx.save(after)
            await self._follow_ups.review(tx, after)

    async def allocate(self, tx: SubscriptionTransaction, subscription_id: UUID, month: str) -> int:
        """Grant the credits of billing periods that began in `month` and are not granted yet.

        Returns the total credits granted for the month, 0 if no known period began in it. Raises SubscriptionNotFound,
        or SubscriptionNotActive if a grant is missing but the status is neither ACTIVE nor TRIALING.
        """
        subscription = await tx.lock(subscription_id)
        for period_start in subscription.grant_starts:
            if month_of(period_start) == month and not await tx.grants.is_granted(subscription, period_start):
                subscription.require_receives_credits(self._now())
                await self._grant_with_mail(tx, subscription, period_start)
        return await tx.grants.credits_of_month(subscription_id, month)

    async def apply_report(self, tx: SubscriptionTransaction, subscription_id: UUID, report: Report) -> None:
        """Apply a report of the card processor; raise SubscriptionNotFound."""
        before = await tx.lock(subscription_id)
        after = before.merged(report)
        await self._save_change(tx, before, after)
        match report:
            case Renewed(period):
                # The member has paid, so the credits are granted even if the subscription is over.
                if after.is_over(self._now()):
                    _log.warning("ended subscription paid", subscription_id=str(subscription_id))
                await self._grant_with_mail(tx, after, after.grant_start_of(period))
            case TrialEnding():
                mail = MemberMail(MailKind.TRIAL_ENDING, after.current_period.end)
                await self._mail_if_still_true(tx, after, mail)

    async def _close_expired(self, tx: SubscriptionTransaction, user_id: UUID, now: datetime) -> None:
        """Store the end of expired subscriptions, so that the user can subscribe again.

        Raises AlreadySubscribed if a subscription still runs.
        """
        for before in await tx.lock_open(user_id, now):
            if not before.is_over(now):
                raise AlreadySubscribed
            await self._save_change(tx, before, before.closed(now))

    async def _save_change(
        self, tx: SubscriptionTransaction, before: Subscription, after: Subscription, *, with_mail: bool = True
    ) -> None:
        """Save a change and write its follow-up messages to the outbox; do nothing if nothing changed."""
        if after == before:
            return
        await tx.save(after)
        await self._follow_ups.remind(tx, before, after, self._now())
        await self._follow_ups.bill(tx, before, after)
        if after.review_time != before.review_time:
            await self._follow_ups.review(tx, after)
        if after.end_time is not None and after.end_time != before.end_time and not before.is_end_processed:
            await self._announce_end(tx, after, after.end_time, with_mail=with_mail)
        if after.paid_period != before.paid_period:
            await tx.publish(render_renewed_event(after))
        if after.failure is not None and after.failure != before.failure:
            await self._announce_failure(tx, after, after.failure)

    async def _announce_end(
        self,
        tx: SubscriptionTransaction,
        subscription: Subscription,
        end_time: datetime,
        *,
        with_mail: bool = True,
    ) -> None:
        if with_mail:
            await self._follow_ups.mail(tx, subscription, MemberMail(MailKind.SUBSCRIPTION_EXPIRED, end_time))
        await tx.publish(render_ended_event(subscription, end_time))

    async def _announce_failure(
        self, tx: SubscriptionTransaction, subscription: Subscription, failure: PaymentFailed
    ) -> None:
        if subscription.status(self._now()) is not SubscriptionStatus.PAST_DUE:
            return
        await tx.publish(render_payment_failed_event(subscription))
        # Without a next attempt, the processor ends the subscription, and the member gets the mail about that end.
        if failure.retry_time is not None:
            await self._mail_if_still_true(tx, subscription, MemberMail(MailKind.PAYMENT_FAILED, failure.retry_time))

    async def _mail_if_still_true(
        self, tx: SubscriptionTransaction, subscription: Subscription, mail: MemberMail
    ) -> None:
        if subscription.is_still_true(mail.kind, mail.time, self._now()):
            await self._follow_ups.mail(tx, subscription, mail)

    async def _grant_with_mail(
        self, tx: SubscriptionTransaction, subscription: Subscription, period_start: datetime
    ) -> None:
        if await self._grant(tx, subscription, period_start):
            mail = MemberMail(MailKind.PAYMENT_SUCCESS, period_start, subscription.plan.credits_per_month)
            await self._follow_ups.mail(tx, subscription, mail)

    async def _grant(self, tx: SubscriptionTransaction, subscription: Subscription, period_start: datetime) -> bool:
        """Record a grant and write its message to the payment service; return False if it was recorded before."""
        now = self._now()
        if not await tx.grants.grant(subscription, period_start, now):
            return False
        await self._follow_ups.grant(tx, subscription, period_start, expire_time_of(subscription, period_start, now))
        return True


async def schedule_deadlines_of_older(store: SubscriptionStore, commands: SubscriptionCommands) -> None:
    """Schedule the deadlines of all subscriptions that an older version stored."""
    while ids := await store.find_unscheduled(SCHEDULING_BATCH_SIZE):
        for subscription_id in ids:
            await _schedule_deadlines(store, commands, subscription_id)


@retried_on_conflict
async def _schedule_deadlines(store: SubscriptionStore, commands: SubscriptionCommands, subscription_id: UUID) -> None:
    async with store.transaction() as tx:
        await commands.schedule_deadlines(tx, subscription_id)
