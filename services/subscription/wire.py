"""Conversion between protobuf messages and the domain of the subscription service.

`parse_` functions return domain values, `render_` functions return messages.
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

from services.subscription import domain, plans, reports
from services.subscription.mails import MemberMail
from services.subscription.webhook_inbox import Scheme
from solo60.common.v1.money_pb2 import Money
from solo60.common.v1.period_pb2 import Period
from solo60.subscription.v1 import events_pb2
from solo60.subscription.v1 import subscription_pb2 as pb

if TYPE_CHECKING:
    from datetime import datetime

    from services.subscription.webhook_inbox import Event, HeldWebhook


_SCHEMES = {
    Scheme.STANDARD: pb.WEBHOOK_SCHEME_STANDARD,
    Scheme.PROCESSOR: pb.WEBHOOK_SCHEME_CARD_PROCESSOR,
}


def render_plan(plan: plans.Plan) -> pb.Plan:
    """Convert a plan to its protobuf message."""
    return pb.Plan(
        plan_id=str(plan.plan_id),
        name=plan.name,
        price=Money(currency_code=plan.currency, minor_units=plan.minor_units),
        credits_per_month=plan.credits_per_month,
        trial_days=plan.trial_days,
    )


def render_subscription(subscription: domain.Subscription, now: datetime) -> pb.Subscription:
    """Convert a subscription to its protobuf message, with its status at `now`."""
    message = pb.Subscription(
        subscription_id=str(subscription.subscription_id),
        user_id=str(subscription.user_id),
        plan_id=str(subscription.plan.plan_id),
        status=pb.SubscriptionStatus.Value(f"SUBSCRIPTION_STATUS_{subscription.status(now).name}"),
        current_period=_render_period(subscription.current_period),
        cancel_at_period_end=subscription.has_planned_end(now),
    )
    message.create_time.FromDatetime(subscription.create_time)
    if subscription.is_trial:
        message.trial_end_time.FromDatetime(subscription.first_period.end)
    if subscription.cancel_time is not None:
        message.cancel_time.FromDatetime(subscription.cancel_time)
    end_time = subscription.effective_end_time(now)
    if end_time is not None:
        message.end_time.FromDatetime(end_time)
    return message


def render_mail_request(subscription: domain.Subscription, mail: MemberMail) -> pb.SendSubscriptionMailRequest:
    """Convert a mail to the request that sends it."""
    request = pb.SendSubscriptionMailRequest(
        subscription_id=str(subscription.subscription_id),
        mail=pb.SubscriptionMail.Value(f"SUBSCRIPTION_MAIL_{mail.kind.name}"),
        credits=mail.credits,
        notice_days=mail.notice_days,
    )
    request.time.FromDatetime(mail.time)
    return request


def parse_mail_request(request: pb.SendSubscriptionMailRequest) -> MemberMail:
    """Convert a valid request to the mail that it sends."""
    kind = domain.MailKind[pb.SubscriptionMail.Name(request.mail).removeprefix("SUBSCRIPTION_MAIL_")]
    return MemberMail(kind, request.time.ToDatetime(UTC), request.credits, request.notice_days)


def parse_scheme(request: pb.ProcessWebhookRequest | pb.ResolveWebhookRequest) -> Scheme:
    """Return the signature scheme in a webhook request."""
    is_processor = request.scheme == pb.WEBHOOK_SCHEME_CARD_PROCESSOR
    return Scheme.PROCESSOR if is_processor else Scheme.STANDARD


def render_webhook_event(event: Event) -> pb.WebhookEvent.ValueType:
    """Convert a webhook event to its protobuf value."""
    return pb.WebhookEvent.Value(f"WEBHOOK_EVENT_{event.name}")


def render_held_webhook(held: HeldWebhook) -> pb.HeldWebhook:
    """Convert a held webhook to its protobuf message."""
    message = pb.HeldWebhook(
        scheme=_SCHEMES[held.ref.scheme],
        webhook_id=held.ref.webhook_id,
        reason=pb.WebhookHoldReason.Value(f"WEBHOOK_HOLD_REASON_{held.reason.name}"),
        processor_subscription_id=held.processor_id,
    )
    message.receive_time.FromDatetime(held.receive_time)
    return message


def render_activated_event(subscription: domain.Subscription) -> events_pb2.SubscriptionActivated:
    """Return the event of a new subscription."""
    plan_id = str(subscription.plan.plan_id)
    return events_pb2.SubscriptionActivated(plan_id=plan_id, **_ids(subscription))


def render_resumed_event(subscription: domain.Subscription) -> events_pb2.SubscriptionResumed:
    """Return the event of an undone cancellation."""
    return events_pb2.SubscriptionResumed(**_ids(subscription))


def render_renewed_event(subscription: domain.Subscription) -> events_pb2.SubscriptionRenewed:
    """Return the event of a newly paid period."""
    return events_pb2.SubscriptionRenewed(period=_render_period(subscription.current_period), **_ids(subscription))


def render_payment_failed_event(subscription: domain.Subscription) -> events_pb2.SubscriptionPaymentFailed:
    """Return the event of a failed or missing payment."""
    return events_pb2.SubscriptionPaymentFailed(**_ids(subscription))


def render_ended_event(subscription: domain.Subscription, end_time: datetime) -> events_pb2.SubscriptionEnded:
    """Return the event of a subscription's end."""
    subscription_id, user_id = str(subscription.subscription_id), str(subscription.user_id)
    event = events_pb2.SubscriptionEnded(subscription_id=subscription_id, user_id=user_id)
    event.end_time.FromDatetime(end_time)
    return event


def _ids(subscription: domain.Subscription) -> dict[str, str]:
    return {"subscription_id": str(subscription.subscription_id), "user_id": str(subscription.user_id)}


def _render_period(period: reports.Period) -> Period:
    message = Period()
    message.start_time.FromDatetime(period.start)
    message.end_time.FromDatetime(period.end)
    return message
