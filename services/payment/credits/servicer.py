"""RPC handlers of the payment service for credits."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from mesh.data.conflicts import retried_on_conflict
from mesh.data.pages import page_of
from services.payment.credits.wire import parse_grant, render_balance, render_entry
from solo60.payment.v1.payment_pb2 import (
    ExpireCreditsRequest,
    ExpireCreditsResponse,
    GetBalanceRequest,
    GetBalanceResponse,
    GrantCreditsRequest,
    GrantCreditsResponse,
    ListCreditEntriesRequest,
    ListCreditEntriesResponse,
)
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceServicer

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from grpc.aio import ServicerContext

    from services.payment.credits.accounts import CreditAccounts
    from services.payment.credits.store import CreditStore
    from services.payment.store import Ledger, PaymentStore


class CreditServicer(PaymentServiceServicer):
    """RPC handlers for balances, their changes and grants. `_now` returns the current time in UTC."""

    _store: PaymentStore
    _credit_store: CreditStore
    _accounts: CreditAccounts
    _now: Callable[[], datetime]

    async def GetBalance(
        self, request: GetBalanceRequest, context: ServicerContext[GetBalanceRequest, GetBalanceResponse]
    ) -> GetBalanceResponse:
        return render_balance(await self._credit_store.balance(UUID(request.user_id), self._now()))

    async def ListCreditEntries(
        self,
        request: ListCreditEntriesRequest,
        context: ServicerContext[ListCreditEntriesRequest, ListCreditEntriesResponse],
    ) -> ListCreditEntriesResponse:
        page = page_of(request)
        found = await self._credit_store.entries(UUID(request.user_id), page.limit, after=page.after(UUID))
        entries, next_page_token = page.cut(found, lambda last: last.entry_id)
        return ListCreditEntriesResponse(entries=map(render_entry, entries), next_page_token=next_page_token)

    @retried_on_conflict
    async def GrantCredits(
        self, request: GrantCreditsRequest, context: ServicerContext[GrantCreditsRequest, GrantCreditsResponse]
    ) -> GrantCreditsResponse:
        async with self._store.transaction() as ledger:
            return await ledger.once(request, GrantCreditsResponse, partial(self._grant_credits, ledger, request))

    @retried_on_conflict
    async def ExpireCredits(
        self, request: ExpireCreditsRequest, context: ServicerContext[ExpireCreditsRequest, ExpireCreditsResponse]
    ) -> ExpireCreditsResponse:
        async with self._store.transaction() as ledger:
            await self._accounts.expire(ledger, UUID(request.user_id), self._now())
        return ExpireCreditsResponse()

    async def _grant_credits(self, ledger: Ledger, request: GrantCreditsRequest) -> GrantCreditsResponse:
        return GrantCreditsResponse(credits=await self._accounts.grant(ledger, parse_grant(request), self._now()))
