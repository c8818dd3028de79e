"""RPC handlers of the session service for waiting lists."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from mesh.data.pages import page_of
from services.session.wire import parse_period, parse_wait_request, render_entry
from solo60.session.v1.session_pb2 import JoinWaitingListResponse, LeaveWaitingListResponse, ListWaitingListResponse
from solo60.session.v1.session_pb2_grpc import SessionServiceServicer

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from grpc.aio import ServicerContext

    from mesh.transaction import Transaction
    from services.session.directory import Directory
    from services.session.sessions.domain import Quote
    from services.session.stores import Stores
    from services.session.waiting_list.domain import WaitRequest
    from solo60.session.v1.session_pb2 import JoinWaitingListRequest, LeaveWaitingListRequest, ListWaitingListRequest


class WaitingListServicer(SessionServiceServicer):
    """RPC handlers for waiting lists. `_now` returns the current time in UTC."""

    _stores: Stores
    _directory: Directory
    _now: Callable[[], datetime]

    async def JoinWaitingList(
        self, request: JoinWaitingListRequest, context: ServicerContext[JoinWaitingListRequest, JoinWaitingListResponse]
    ) -> JoinWaitingListResponse:
        wait_request, now = parse_wait_request(request), self._now()
        wait_request.period.require_not_past(now)
        _, quote = await asyncio.gather(
            self._directory.require_active_user(wait_request.user_id),
            self._directory.quote(wait_request.gym_id, wait_request.period),
        )
        async with self._stores.waiting_list.transaction() as tx:
            join = partial(self._join_waiting_list, tx, wait_request, quote, now)
            return await tx.once(request, JoinWaitingListResponse, join)

    async def LeaveWaitingList(
        self,
        request: LeaveWaitingListRequest,
        context: ServicerContext[LeaveWaitingListRequest, LeaveWaitingListResponse],
    ) -> LeaveWaitingListResponse:
        await self._stores.waiting_list.leave(UUID(request.entry_id), self._now())
        return LeaveWaitingListResponse()

    async def ListWaitingList(
        self, request: ListWaitingListRequest, context: ServicerContext[ListWaitingListRequest, ListWaitingListResponse]
    ) -> ListWaitingListResponse:
        page = page_of(request)
        period = parse_period(request.period) if request.HasField("period") else None
        found = await self._stores.waiting_list.list_of_gym(
            UUID(request.gym_id), period, page.limit, now=self._now(), after=page.after(UUID)
        )
        entries, next_page_token = page.cut(found, lambda last: last.entry_id)
        return ListWaitingListResponse(entries=map(render_entry, entries), next_page_token=next_page_token)

    async def _join_waiting_list(
        self, tx: Transaction, wait_request: WaitRequest, quote: Quote, now: datetime
    ) -> JoinWaitingListResponse:
        entry = await self._stores.waiting_list.join(tx, wait_request, quote, now)
        return JoinWaitingListResponse(entry=render_entry(entry))
