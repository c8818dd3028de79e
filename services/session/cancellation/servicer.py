"""RPC handlers for cancellation."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from services.session.cancellation.store import MEMBER_LEFT
from services.session.wire import render_session
from solo60.session.v1.session_pb2 import CancelSessionResponse, OnUserLeftResponse, RefundMeans
from solo60.session.v1.session_pb2_grpc import SessionServiceServicer

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from grpc.aio import ServicerContext

    from services.session.stores import Stores
    from solo60.session.v1.session_pb2 import CancelSessionRequest, OnUserLeftRequest


class CancellationServicer(SessionServiceServicer):
    """RPC handlers for cancellation, by request or because the member has left. `_now` returns the time in UTC."""

    _stores: Stores
    _now: Callable[[], datetime]

    async def CancelSession(
        self, request: CancelSessionRequest, context: ServicerContext[CancelSessionRequest, CancelSessionResponse]
    ) -> CancelSessionResponse:
        session = await self._stores.cancellations.cancel(
            UUID(request.session_id),
            request.reason,
            now=self._now(),
            in_credits=request.refund_in == RefundMeans.REFUND_MEANS_CREDITS,
        )
        return CancelSessionResponse(session=render_session(session))

    async def OnUserLeft(
        self, request: OnUserLeftRequest, context: ServicerContext[OnUserLeftRequest, OnUserLeftResponse]
    ) -> OnUserLeftResponse:
        user_id, now = UUID(request.event.user_id), self._now()
        await self._stores.cancellations.cancel_upcoming_of(user_id, MEMBER_LEFT, now=now)
        await self._stores.waiting_list.leave_all(user_id, now)
        return OnUserLeftResponse()
