"""Follow-up calls of a changed subscription, written to the outbox in the same transaction as the change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.subscription.mails import MemberMail
from services.subscription.processors.attempts import next_attempt
from services.subscription.wire import render_mail_request
from solo60.payment.v1.payment_pb2 import GrantCreditsRequest
from solo60.subscription.v1.subscription_pb2 import (
    ChargeInTestModeRequest,
    ReviewSubscriptionRequest,
    SettleSubscriptionOrderRequest,
    SyncCardProcessorRequest,
)

if TYPE_CHECKING:
    from datetime import datetime

    from mesh.transaction import Transaction
    from services.subscription.domain import Subscription
    from services.subscription.order import Order
    from solo60.payment.v1.payment_pb2_grpc import PaymentServiceAsyncStub
    from solo60.subscription.v1.subscription_pb2_grpc import SubscriptionServiceAsyncStub


class FollowUps:
    """Writer of outbox calls: credits for the payment service, mails and deadlines for this service itself.

    Each method writes to the outbox in the transaction `tx`. A mail needs the member's address from the user service. A
    transaction must not wait for a remote call, so this service sends the mail in a later call.
    """

    def __init__(
        self,
        payments: PaymentServiceAsyncStub,
        subscriptions: SubscriptionServiceAsyncStub,
        *,
        in_test_mode: bool,
    ) -> None:
        self._payments = payments
        self._subscriptions = subscriptions
        self._in_test_mode = in_test_mode

    async def grant(
        self, tx: Transaction, subscription: Subscription, period_start: datetime, expire_time: datetime
    ) -> None:
        """Schedule the call that grants the credits of a billing period. The caller has recorded the grant."""
        request = GrantCreditsRequest(
            user_id=str(subscription.user_id),
            credits=subscription.plan.credits_per_month,
            reason=f"subscription {subscription.subscription_id}, period from {period_start:%Y-%m-%d}",
            subscription_id=str(subscription.subscription_id),
        )
        request.expire_time.FromDatetime(expire_time)
        await tx.call_later(self._payments.GrantCredits, request)

    async def mail(self, tx: Transaction, subscription: Subscription, mail: MemberMail) -> None:
        """Schedule a mail for immediate sending, after earlier mails of the same subscription."""
        request, key = render_mail_request(subscription, mail), str(subscription.subscription_id)
        await tx.call_later(self._subscriptions.SendSubscriptionMail, request, aggregate_key=key)

    async def remind(self, tx: Transaction, before: Subscription | None, after: Subscription, now: datetime) -> None:
        """Schedule the reminders of a changed subscription and cancel the previous ones, unless they are equal."""
        old, new = before.reminders(now) if before else (), after.reminders(now)
        if old == new:
            return
        key = f"reminder/{after.subscription_id}"
        await tx.cancel_later(key)
        for each in new:
            mail = MemberMail(each.kind, each.time, notice_days=each.notice_days)
            method = self._subscriptions.SendSubscriptionMail
            await tx.call_later(method, render_mail_request(after, mail), at=each.send_time, cancel_key=key)

    async def bill(self, tx: Transaction, before: Subscription | None, after: Subscription) -> None:
        """Schedule the call that passes a change on to the card processor, if the change affects charges."""
        if self._in_test_mode:
            await self._schedule_attempt(tx, before, after)
        elif before is not None and (after.end_time, after.cancel_time) != (before.end_time, before.cancel_time):
            request = SyncCardProcessorRequest(subscription_id=str(after.subscription_id))
            key = str(after.subscription_id)
            await tx.call_later(self._subscriptions.SyncCardProcessor, request, aggregate_key=key)

    async def _schedule_attempt(self, tx: Transaction, before: Subscription | None, after: Subscription) -> None:
        old, new = next_attempt(before) if before else None, next_attempt(after)
        if old == new:
            return
        key = f"charge/{after.subscription_id}"
        await tx.cancel_later(key)
        if new is not None:
            request = ChargeInTestModeRequest(subscription_id=str(after.subscription_id))
            await tx.call_later(self._subscriptions.ChargeInTestMode, request, at=new.time, cancel_key=key)

    async def settle(self, tx: Transaction, order: Order, at: datetime) -> None:
        """Schedule the call that settles an order if its own request does not."""
        request = SettleSubscriptionOrderRequest(subscription_id=str(order.subscription_id))
        method = self._subscriptions.SettleSubscriptionOrder
        await tx.call_later(method, request, at=at, cancel_key=_settle_key(order))

    async def cancel_settling(self, tx: Transaction, order: Order) -> None:
        """Cancel the call that `settle` has scheduled."""
        await tx.cancel_later(_settle_key(order))

    async def review(self, tx: Transaction, subscription: Subscription) -> None:
        """Schedule the next deadline of a subscription and cancel the previous one."""
        key = f"review/{subscription.subscription_id}"
        await tx.cancel_later(key)
        if subscription.review_time is not None:
            request = ReviewSubscriptionRequest(subscription_id=str(subscription.subscription_id))
            method = self._subscriptions.ReviewSubscription
            await tx.call_later(method, request, at=subscription.review_time, cancel_key=key)


def _settle_key(order: Order) -> str:
    return f"order/{order.subscription_id}"
