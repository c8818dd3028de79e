"""The subscription service's RPCs: convert, call, convert."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from contracts.errors import UserNotActive, Violation
from mesh.idempotency import once
from mesh.pages import page_of
from mesh.request_rules import require
from services.subscription.domain import accept_card, month_of
from services.subscription.messages import (
    letter_of,
    plan_message,
    scheme_of,
    subscription_message,
    webhook_response,
)
from services.subscription.webhook_inbox import Scheme
from solo60.subscription.v1 import subscription_pb2 as pb
from solo60.subscription.v1.subscription_pb2_grpc import SubscriptionServiceServicer
from solo60.user.v1.user_pb2 import GetUserRequest, UserState

if TYPE_CHECKING:
    from collections.abc import Callable

    from grpc.aio import ServicerContext

    from services.subscription.desk import Desk
    from services.subscription.mails import Mailer
    from services.subscription.store import Register, SubscriptionStore
    from services.subscription.webhook_desk import WebhookDesk
    from solo60.user.v1.user_pb2_grpc import UserServiceAsyncStub


class SubscriptionServicer(SubscriptionServiceServicer):
    """Answers for subscriptions; `now` is the current time in UTC."""

    def __init__(
        self,
        store: SubscriptionStore,
        desk: Desk,
        webhook_desk: WebhookDesk,
        mailer: Mailer,
        users: UserServiceAsyncStub,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._desk = desk
        self._webhook_desk = webhook_desk
        self._mailer = mailer
        self._users = users
        self._now = now

    async def ListPlans(
        self, request: pb.ListPlansRequest, context: ServicerContext[pb.ListPlansRequest, pb.ListPlansResponse]
    ) -> pb.ListPlansResponse:
        page = page_of(request)
        found = await self._store.list_plans(page.limit, after=page.after(UUID))
        plans, next_page_token = page.cut(found, lambda last: last.plan_id)
        return pb.ListPlansResponse(plans=map(plan_message, plans), next_page_token=next_page_token)

    async def GetSubscription(
        self,
        request: pb.GetSubscriptionRequest,
        context: ServicerContext[pb.GetSubscriptionRequest, pb.GetSubscriptionResponse],
    ) -> pb.GetSubscriptionResponse:
        found = await self._store.find(UUID(request.subscription_id))
        return pb.GetSubscriptionResponse(subscription=subscription_message(found, self._now()))

    async def GetUserSubscription(
        self,
        request: pb.GetUserSubscriptionRequest,
        context: ServicerContext[pb.GetUserSubscriptionRequest, pb.GetUserSubscriptionResponse],
    ) -> pb.GetUserSubscriptionResponse:
        found = await self._store.find_of_user(UUID(request.user_id))
        return pb.GetUserSubscriptionResponse(subscription=subscription_message(found, self._now()))

    async def CreateSubscription(
        self,
        request: pb.CreateSubscriptionRequest,
        context: ServicerContext[pb.CreateSubscriptionRequest, pb.CreateSubscriptionResponse],
    ) -> pb.CreateSubscriptionResponse:
        await self._require_active(request.user_id)
        accept_card(request.payment_method.card_token)
        trial_days = request.trial_days if request.HasField("trial_days") else None

        async def subscribe_once(register: Register) -> pb.CreateSubscriptionResponse:
            async def subscribe() -> pb.CreateSubscriptionResponse:
                new = await self._desk.subscribe(
                    register, UUID(request.user_id), UUID(request.plan_id), trial_days=trial_days
                )
                return pb.CreateSubscriptionResponse(subscription=subscription_message(new, self._now()))

            return await once(register.connection, request, subscribe, pb.CreateSubscriptionResponse)

        return await self._store.run(subscribe_once)

    async def CancelSubscription(
        self,
        request: pb.CancelSubscriptionRequest,
        context: ServicerContext[pb.CancelSubscriptionRequest, pb.CancelSubscriptionResponse],
    ) -> pb.CancelSubscriptionResponse:
        async def cancel_once(register: Register) -> pb.CancelSubscriptionResponse:
            async def cancel() -> pb.CancelSubscriptionResponse:
                subscription = await self._desk.cancel(
                    register, UUID(request.subscription_id), at_period_end=request.at_period_end
                )
                return pb.CancelSubscriptionResponse(subscription=subscription_message(subscription, self._now()))

            return await once(register.connection, request, cancel, pb.CancelSubscriptionResponse)

        return await self._store.run(cancel_once)

    async def AllocateMonthlyCredits(
        self,
        request: pb.AllocateMonthlyCreditsRequest,
        context: ServicerContext[pb.AllocateMonthlyCreditsRequest, pb.AllocateMonthlyCreditsResponse],
    ) -> pb.AllocateMonthlyCreditsResponse:
        subscription = await self._store.find(UUID(request.subscription_id))
        if not month_of(subscription.create_time) <= request.month <= month_of(subscription.current_period.start):
            require(Violation("month", "must be a month in which the trial or a period that is paid began"))
        month_start = datetime.strptime(request.month, "%Y-%m").replace(tzinfo=UTC)
        credits_granted = await self._store.run(
            lambda register: self._desk.allocate(register, subscription.subscription_id, month_start)
        )
        return pb.AllocateMonthlyCreditsResponse(credits=credits_granted)

    async def ProcessWebhook(
        self,
        request: pb.ProcessWebhookRequest,
        context: ServicerContext[pb.ProcessWebhookRequest, pb.ProcessWebhookResponse],
    ) -> pb.ProcessWebhookResponse:
        if scheme_of(request) is Scheme.PROCESSOR:
            event = await self._webhook_desk.take_in_processor(request.payload, request.signature)
        else:
            event = await self._webhook_desk.take_in_standard(
                request.webhook_id, request.timestamp, request.payload, request.signature
            )
        return webhook_response(event)

    async def SendSubscriptionMail(
        self,
        request: pb.SendSubscriptionMailRequest,
        context: ServicerContext[pb.SendSubscriptionMailRequest, pb.SendSubscriptionMailResponse],
    ) -> pb.SendSubscriptionMailResponse:
        subscription, letter = await self._store.find(UUID(request.subscription_id)), letter_of(request)
        is_true = subscription.is_worth_saying(letter.mail, letter.time, self._now())
        sent = is_true and await self._mailer.send(subscription, letter)
        return pb.SendSubscriptionMailResponse(sent=sent)

    async def _require_active(self, user_id: str) -> None:
        response = await self._users.GetUser(GetUserRequest(user_id=user_id))
        if response.user.state != UserState.USER_STATE_ACTIVE:
            raise UserNotActive
