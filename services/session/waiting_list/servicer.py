"""RPC handlers of the session service for waiting lists."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

from mesh.data.idempotency import once
from mesh.data.pages import page_of
from services.session.wire import parse_period, parse_wait_request, render_entry
from solo60.session.v1.session_pb2 import JoinWaitingListResponse, LeaveWaitingListResponse, ListWaitingListResponse
from solo60.session.v1.session_pb2_grpc import SessionServiceServicer

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from grpc.aio import ServicerContext

    from services.session.directory import Directory
    from services.session.stores import Stores
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
        await asyncio.gather(
            self._directory.require_active_user(wait_request.user_id), self._directory.require_gym(wait_request.gym_id)
        )
        waiting_list = self._stores.waiting_list
        async with waiting_list.transaction() as transaction:

            async def respond() -> JoinWaitingListResponse:
                entry = await waiting_list.join(transaction, wait_request, now)
                return JoinWaitingListResponse(entry=render_entry(entry))

            return await once(transaction, request, respond, JoinWaitingListResponse)

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
