"""Follow-up calls of a changed subscription, written to the outbox in the same transaction as the change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.subscription.mails import MemberMail
from services.subscription.wire import render_mail_request
from solo60.payment.v1.payment_pb2 import GrantCreditsRequest
from solo60.subscription.v1.subscription_pb2 import ReviewSubscriptionRequest

if TYPE_CHECKING:
    from datetime import datetime

    from mesh.transaction import Transaction
    from services.subscription.domain import Subscription
    from solo60.payment.v1.payment_pb2_grpc import PaymentServiceAsyncStub
    from solo60.subscription.v1.subscription_pb2_grpc import SubscriptionServiceAsyncStub


class FollowUps:
    """Writer of outbox calls: credits for the payment service, mails and deadlines for this service itself.

    Each method writes to the outbox in the transaction `tx`. A mail needs the member's address from the user service. A
    transaction must not wait for a remote call, so this service sends the mail in a later call.
    """

    def __init__(self, payments: PaymentServiceAsyncStub, subscriptions: SubscriptionServiceAsyncStub) -> None:
        self._payments = payments
        self._subscriptions = subscriptions

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
        """Schedule the reminder of a changed subscription and cancel the previous one, unless they are equal."""
        old, new = before.reminder(now) if before else None, after.reminder(now)
        if old == new:
            return
        key = f"reminder/{after.subscription_id}"
        await tx.cancel_later(key)
        if new is not None:
            request = render_mail_request(after, MemberMail(new.kind, new.time))
            method = self._subscriptions.SendSubscriptionMail
            await tx.call_later(method, request, at=new.send_time, cancel_key=key)

    async def review(self, tx: Transaction, subscription: Subscription) -> None:
        """Schedule the next deadline of a subscription and cancel the previous one."""
        key = f"review/{subscription.subscription_id}"
        await tx.cancel_later(key)
        if subscription.review_time is not None:
            request = ReviewSubscriptionRequest(subscription_id=str(subscription.subscription_id))
            method = self._subscriptions.ReviewSubscription
            await tx.call_later(method, request, at=subscription.review_time, cancel_key=key)
