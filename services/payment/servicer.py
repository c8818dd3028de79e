"""RPC handlers of the payment service."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from contracts.errors import PaymentNotFound
from mesh.data.conflicts import retried_on_conflict
from mesh.data.pages import page_of
from services.payment.domain import PaymentStatus
from services.payment.erasure import erase_user
from services.payment.wire import parse_order, render_payment
from solo60.payment.v1.payment_pb2 import (
    REFUND_OUTCOME_REFUNDED,
    REFUND_OUTCOME_VOIDED,
    ChargeSessionRequest,
    ChargeSessionResponse,
    CreditBackSessionRequest,
    CreditBackSessionResponse,
    GetBalanceRequest,
    GetBalanceResponse,
    GetPaymentRequest,
    GetPaymentResponse,
    GrantCreditsRequest,
    GrantCreditsResponse,
    ListSessionPaymentsRequest,
    ListSessionPaymentsResponse,
    OnUserErasedRequest,
    OnUserErasedResponse,
    RefundSessionRequest,
    RefundSessionResponse,
)
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceServicer

if TYPE_CHECKING:
    from grpc.aio import ServicerContext

    from services.payment.cashier import Cashier
    from services.payment.store import Ledger, PaymentStore


class PaymentServicer(PaymentServiceServicer):
    """RPC handlers for payments, refunds and credits."""

    def __init__(self, store: PaymentStore, cashier: Cashier) -> None:
        self._store = store
        self._cashier = cashier

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
        payment = await self._cashier.refund(UUID(request.session_id), request.reason)
        if payment is None:
            return RefundSessionResponse(outcome=REFUND_OUTCOME_VOIDED)
        is_refunded = payment.status is PaymentStatus.REFUNDED
        return RefundSessionResponse(
            outcome=REFUND_OUTCOME_REFUNDED if is_refunded else REFUND_OUTCOME_VOIDED,
            payment=render_payment(payment),
        )

    async def CreditBackSession(
        self,
        request: CreditBackSessionRequest,
        context: ServicerContext[CreditBackSessionRequest, CreditBackSessionResponse],
    ) -> CreditBackSessionResponse:
        payment = await self._cashier.credit_back(UUID(request.session_id), request.reason)
        return CreditBackSessionResponse(payment=render_payment(payment))

    async def GetBalance(
        self, request: GetBalanceRequest, context: ServicerContext[GetBalanceRequest, GetBalanceResponse]
    ) -> GetBalanceResponse:
        return GetBalanceResponse(credits=await self._store.balance(UUID(request.user_id)))

    @retried_on_conflict
    async def GrantCredits(
        self, request: GrantCreditsRequest, context: ServicerContext[GrantCreditsRequest, GrantCreditsResponse]
    ) -> GrantCreditsResponse:
        async with self._store.transaction() as ledger:
            return await ledger.once(request, GrantCreditsResponse, partial(self._grant_credits, ledger, request))

    @retried_on_conflict
    async def OnUserErased(
        self, request: OnUserErasedRequest, context: ServicerContext[OnUserErasedRequest, OnUserErasedResponse]
    ) -> OnUserErasedResponse:
        async with self._store.transaction() as tx:
            await erase_user(tx, UUID(request.event.user_id))
        return OnUserErasedResponse()

    async def _grant_credits(self, ledger: Ledger, request: GrantCreditsRequest) -> GrantCreditsResponse:
        balance = await self._cashier.grant(ledger, UUID(request.user_id), request.credits, request.reason)
        return GrantCreditsResponse(credits=balance)
