"""RPC handlers of the payment service."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from contracts.errors import PaymentNotFound
from mesh.data.conflicts import retried_on_conflict
from mesh.data.pages import page_of
from services.payment.credits.servicer import CreditServicer
from services.payment.erasure import erase_user
from services.payment.wire import parse_order, parse_partial_refund, render_payment, render_refund
from solo60.payment.v1.payment_pb2 import (
    REFUND_OUTCOME_PARTIALLY_REFUNDED,
    ChargeSessionRequest,
    ChargeSessionResponse,
    CreditBackSessionRequest,
    CreditBackSessionResponse,
    GetPaymentRequest,
    GetPaymentResponse,
    ListSessionPaymentsRequest,
    ListSessionPaymentsResponse,
    OnUserErasedRequest,
    OnUserErasedResponse,
    ProcessWebhookRequest,
    ProcessWebhookResponse,
    RefundSessionRequest,
    RefundSessionResponse,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from grpc.aio import ServicerContext

    from services.payment.cashier import Cashier
    from services.payment.credits.accounts import CreditAccounts
    from services.payment.credits.store import CreditStore
    from services.payment.store import PaymentStore
    from services.payment.webhooks import WebhookHandler


class PaymentServicer(CreditServicer):
    """All RPC handlers: those for credits, and here those for payments and refunds."""

    def __init__(
        self,
        store: PaymentStore,
        cashier: Cashier,
        credit_store: CreditStore,
        accounts: CreditAccounts,
        webhooks: WebhookHandler,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._cashier = cashier
        self._credit_store = credit_store
        self._accounts = accounts
        self._webhooks = webhooks
        self._now = now

    async def GetPayment(
        self, request: GetPaymentRequest, context: ServicerContext[GetPaymentRequest, GetPaymentResponse]
    ) -> GetPaymentResponse:
        payment = await self._store.find_payment(UUID(request.payment_id))
        if payment is None:
            raise PaymentNotFound
        return GetPaymentResponse(payment=render_payment(payment))

    async def ListSessionPayments(
        self,
        request: ListSessionPaymentsRequest,
        context: ServicerContext[ListSessionPaymentsRequest, ListSessionPaymentsResponse],
    ) -> ListSessionPaymentsResponse:
        page = page_of(request)
        found = await self._store.payments_of_session(UUID(request.session_id), page.limit, after=page.after(UUID))
        payments, next_page_token = page.cut(found, lambda last: last.payment_id)
        return ListSessionPaymentsResponse(payments=map(render_payment, payments), next_page_token=next_page_token)

    async def ChargeSession(
        self, request: ChargeSessionRequest, context: ServicerContext[ChargeSessionRequest, ChargeSessionResponse]
    ) -> ChargeSessionResponse:
        payment = await self._cashier.charge(parse_order(request), request.payment_method.card.card_token)
        return ChargeSessionResponse(payment=render_payment(payment))

    async def RefundSession(
        self, request: RefundSessionRequest, context: ServicerContext[RefundSessionRequest, RefundSessionResponse]
    ) -> RefundSessionResponse:
        if request.refund_id:
            payment = await self._cashier.refund_part(parse_partial_refund(request))
            return RefundSessionResponse(outcome=REFUND_OUTCOME_PARTIALLY_REFUNDED, payment=render_payment(payment))
        return render_refund(await self._cashier.refund(UUID(request.session_id), request.reason))

    async def CreditBackSession(
        self,
        request: CreditBackSessionRequest,
        context: ServicerContext[CreditBackSessionRequest, CreditBackSessionResponse],
    ) -> CreditBackSessionResponse:
        payment = await self._cashier.credit_back(UUID(request.session_id), request.reason)
        return CreditBackSessionResponse(payment=render_payment(payment))

    async def ProcessWebhook(
        self, request: ProcessWebhookRequest, context: ServicerContext[ProcessWebhookRequest, ProcessWebhookResponse]
    ) -> ProcessWebhookResponse:
        return await self._webhooks.process(request.payload, request.signature)

    @retried_on_conflict
    async def OnUserErased(
        self, request: OnUserErasedRequest, context: ServicerContext[OnUserErasedRequest, OnUserErasedResponse]
    ) -> OnUserErasedResponse:
        async with self._store.transaction() as tx:
            await erase_user(tx, UUID(request.event.user_id))
        return OnUserErasedResponse()
