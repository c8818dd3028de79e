"""RPC handlers of the subscription service."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from contracts.errors import UserNotActive, Violation
from mesh.data.conflicts import retried_on_conflict
from mesh.data.pages import page_of
from mesh.serving.request_rules import require
from services.subscription.erasure import erase_address, erase_user
from services.subscription.webhook_inbox import Scheme, WebhookRef
from services.subscription.wire import (
    parse_mail_request,
    parse_scheme,
    render_held_webhook,
    render_plan,
    render_subscription,
    render_webhook_event,
)
from solo60.subscription.v1 import subscription_pb2 as pb
from solo60.subscription.v1.subscription_pb2_grpc import SubscriptionServiceServicer
from solo60.user.v1.user_pb2 import GetUserRequest, UserState

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from grpc.aio import ServicerContext

    from services.subscription.commands import SubscriptionCommands
    from services.subscription.mails import Mailer
    from services.subscription.store import SubscriptionStore, SubscriptionTransaction
    from services.subscription.webhook_handler import WebhookHandler
    from services.subscription.workflow import SubscriptionWorkflow
    from solo60.user.v1.user_pb2_grpc import UserServiceAsyncStub


class SubscriptionServicer(SubscriptionServiceServicer):
    """RPC handlers of the subscription service. `now` returns the current time in UTC."""

    def __init__(
        self,
        store: SubscriptionStore,
        commands: SubscriptionCommands,
        webhook_handler: WebhookHandler,
        workflow: SubscriptionWorkflow,
        mailer: Mailer,
        users: UserServiceAsyncStub,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._commands = commands
        self._webhook_handler = webhook_handler
        self._workflow = workflow
        self._mailer = mailer
        self._users = users
        self._now = now

    async def ListPlans(
        self, request: pb.ListPlansRequest, context: ServicerContext[pb.ListPlansRequest, pb.ListPlansResponse]
    ) -> pb.ListPlansResponse:
        page = page_of(request)
        found = await self._store.list_plans(page.limit, after=page.after(UUID))
        plans, next_page_token = page.cut(found, lambda last: last.plan_id)
        return pb.ListPlansResponse(plans=map(render_plan, plans), next_page_token=next_page_token)

    async def GetSubscription(
        self,
        request: pb.GetSubscriptionRequest,
        context: ServicerContext[pb.GetSubscriptionRequest, pb.GetSubscriptionResponse],
    ) -> pb.GetSubscriptionResponse:
        found = await self._store.find(UUID(request.subscription_id))
        return pb.GetSubscriptionResponse(subscription=render_subscription(found, self._now()))

    async def GetUserSubscription(
        self,
        request: pb.GetUserSubscriptionRequest,
        context: ServicerContext[pb.GetUserSubscriptionRequest, pb.GetUserSubscriptionResponse],
    ) -> pb.GetUserSubscriptionResponse:
        found = await self._store.find_of_user(UUID(request.user_id))
        return pb.GetUserSubscriptionResponse(subscription=render_subscription(found, self._now()))

    async def CreateSubscription(
        self,
        request: pb.CreateSubscriptionRequest,
        context: ServicerContext[pb.CreateSubscriptionRequest, pb.CreateSubscriptionResponse],
    ) -> pb.CreateSubscriptionResponse:
        await self._require_active(request.user_id)
        return await self._workflow.create(request)

    @retried_on_conflict
    async def CancelSubscription(
        self,
        request: pb.CancelSubscriptionRequest,
        context: ServicerContext[pb.CancelSubscriptionRequest, pb.CancelSubscriptionResponse],
    ) -> pb.CancelSubscriptionResponse:
        async with self._store.transaction() as tx:
            return await tx.once(request, pb.CancelSubscriptionResponse, partial(self._cancel, tx, request))

    @retried_on_conflict
    async def ResumeSubscription(
        self,
        request: pb.ResumeSubscriptionRequest,
        context: ServicerContext[pb.ResumeSubscriptionRequest, pb.ResumeSubscriptionResponse],
    ) -> pb.ResumeSubscriptionResponse:
        async with self._store.transaction() as tx:
            return await tx.once(request, pb.ResumeSubscriptionResponse, partial(self._resume, tx, request))

    async def UpdatePaymentMethod(
        self,
        request: pb.UpdatePaymentMethodRequest,
        context: ServicerContext[pb.UpdatePaymentMethodRequest, pb.UpdatePaymentMethodResponse],
    ) -> pb.UpdatePaymentMethodResponse:
        return await self._workflow.replace_card(request)

    @retried_on_conflict
    async def AllocateMonthlyCredits(
        self,
        request: pb.AllocateMonthlyCreditsRequest,
        context: ServicerContext[pb.AllocateMonthlyCreditsRequest, pb.AllocateMonthlyCreditsResponse],
    ) -> pb.AllocateMonthlyCreditsResponse:
        async with self._store.transaction() as tx:
            credits_granted = await self._commands.allocate(tx, UUID(request.subscription_id), request.month)
        if not credits_granted:
            require(Violation("month", "must be a month in which the trial or a paid period began"))
        return pb.AllocateMonthlyCreditsResponse(credits=credits_granted)

    async def ProcessWebhook(
        self,
        request: pb.ProcessWebhookRequest,
        context: ServicerContext[pb.ProcessWebhookRequest, pb.ProcessWebhookResponse],
    ) -> pb.ProcessWebhookResponse:
        if parse_scheme(request) is Scheme.PROCESSOR:
            event = await self._webhook_handler.process_card_processor(request.payload, request.signature)
        else:
            event = await self._webhook_handler.process_standard(
                request.webhook_id, request.timestamp, request.payload, request.signature
            )
        return pb.ProcessWebhookResponse(event=render_webhook_event(event))

    async def ListHeldWebhooks(
        self,
        request: pb.ListHeldWebhooksRequest,
        context: ServicerContext[pb.ListHeldWebhooksRequest, pb.ListHeldWebhooksResponse],
    ) -> pb.ListHeldWebhooksResponse:
        page = page_of(request)
        found = await self._webhook_handler.list_held(page.limit, after=page.after(Scheme, str))
        held, next_page_token = page.cut(found, lambda last: last.ref.scheme, lambda last: last.ref.webhook_id)
        return pb.ListHeldWebhooksResponse(webhooks=map(render_held_webhook, held), next_page_token=next_page_token)

    async def ResolveWebhook(
        self,
        request: pb.ResolveWebhookRequest,
        context: ServicerContext[pb.ResolveWebhookRequest, pb.ResolveWebhookResponse],
    ) -> pb.ResolveWebhookResponse:
        ref = WebhookRef(parse_scheme(request), request.webhook_id)
        if request.dismiss:
            event = await self._webhook_handler.dismiss(ref)
        else:
            event = await self._webhook_handler.resolve(ref, UUID(request.subscription_id))
        return pb.ResolveWebhookResponse(event=render_webhook_event(event))

    async def SendSubscriptionMail(
        self,
        request: pb.SendSubscriptionMailRequest,
        context: ServicerContext[pb.SendSubscriptionMailRequest, pb.SendSubscriptionMailResponse],
    ) -> pb.SendSubscriptionMailResponse:
        subscription, mail = await self._store.find(UUID(request.subscription_id)), parse_mail_request(request)
        is_true = subscription.is_still_true(mail.kind, mail.time, self._now())
        sent = is_true and await self._mailer.send(subscription, mail)
        return pb.SendSubscriptionMailResponse(sent=sent)

    async def ReviewSubscription(
        self,
        request: pb.ReviewSubscriptionRequest,
        context: ServicerContext[pb.ReviewSubscriptionRequest, pb.ReviewSubscriptionResponse],
    ) -> pb.ReviewSubscriptionResponse:
        subscription_id = UUID(request.subscription_id)
        await self._workflow.catch_up(subscription_id)
        await self._review(subscription_id)
        return pb.ReviewSubscriptionResponse()

    async def ChargeInTestMode(
        self,
        request: pb.ChargeInTestModeRequest,
        context: ServicerContext[pb.ChargeInTestModeRequest, pb.ChargeInTestModeResponse],
    ) -> pb.ChargeInTestModeResponse:
        await self._workflow.catch_up(UUID(request.subscription_id))
        return pb.ChargeInTestModeResponse()

    async def SyncCardProcessor(
        self,
        request: pb.SyncCardProcessorRequest,
        context: ServicerContext[pb.SyncCardProcessorRequest, pb.SyncCardProcessorResponse],
    ) -> pb.SyncCardProcessorResponse:
        await self._workflow.sync(UUID(request.subscription_id))
        return pb.SyncCardProcessorResponse()

    async def SettleSubscriptionOrder(
        self,
        request: pb.SettleSubscriptionOrderRequest,
        context: ServicerContext[pb.SettleSubscriptionOrderRequest, pb.SettleSubscriptionOrderResponse],
    ) -> pb.SettleSubscriptionOrderResponse:
        await self._workflow.settle(UUID(request.subscription_id))
        return pb.SettleSubscriptionOrderResponse()

    @retried_on_conflict
    async def OnUserLeft(
        self, request: pb.OnUserLeftRequest, context: ServicerContext[pb.OnUserLeftRequest, pb.OnUserLeftResponse]
    ) -> pb.OnUserLeftResponse:
        async with self._store.transaction() as tx:
            await self._commands.end_for_departed_user(tx, UUID(request.event.user_id))
        return pb.OnUserLeftResponse()

    @retried_on_conflict
    async def OnUserErased(
        self, request: pb.OnUserErasedRequest, context: ServicerContext[pb.OnUserErasedRequest, pb.OnUserErasedResponse]
    ) -> pb.OnUserErasedResponse:
        user_id = UUID(request.event.user_id)
        async with self._store.transaction() as tx:
            await self._commands.end_for_departed_user(tx, user_id)
            await erase_user(tx, user_id)
        return pb.OnUserErasedResponse()

    @retried_on_conflict
    async def EraseAddress(
        self, request: pb.EraseAddressRequest, context: ServicerContext[pb.EraseAddressRequest, pb.EraseAddressResponse]
    ) -> pb.EraseAddressResponse:
        async with self._store.transaction() as tx:
            await erase_address(tx, request.email)
        return pb.EraseAddressResponse()

    @retried_on_conflict
    async def _review(self, subscription_id: UUID) -> None:
        async with self._store.transaction() as tx:
            await self._commands.review(tx, subscription_id)

    async def _cancel(
        self, tx: SubscriptionTransaction, request: pb.CancelSubscriptionRequest
    ) -> pb.CancelSubscriptionResponse:
        subscription_id = UUID(request.subscription_id)
        subscription = await self._commands.cancel(tx, subscription_id, at_period_end=request.at_period_end)
        return pb.CancelSubscriptionResponse(subscription=render_subscription(subscription, self._now()))

    async def _resume(
        self, tx: SubscriptionTransaction, request: pb.ResumeSubscriptionRequest
    ) -> pb.ResumeSubscriptionResponse:
        subscription = await self._commands.resume(tx, UUID(request.subscription_id))
        return pb.ResumeSubscriptionResponse(subscription=render_subscription(subscription, self._now()))

    async def _require_active(self, user_id: str) -> None:
        response = await self._users.GetUser(GetUserRequest(user_id=user_id))
        if response.user.state != UserState.USER_STATE_ACTIVE:
            raise UserNotActive
