"""RPC handlers for approval and rejection."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from services.session.wire import render_session
from solo60.session.v1.session_pb2 import ApproveSessionResponse, RejectSessionResponse
from solo60.session.v1.session_pb2_grpc import SessionServiceServicer

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from grpc.aio import ServicerContext

    from services.session.stores import Stores
    from solo60.session.v1.session_pb2 import ApproveSessionRequest, RejectSessionRequest


class ApprovalServicer(SessionServiceServicer):
    """RPC handlers for approval and rejection. `_now` returns the current time in UTC."""

    _stores: Stores
    _now: Callable[[], datetime]

    async def ApproveSession(
        self, request: ApproveSessionRequest, context: ServicerContext[ApproveSessionRequest, ApproveSessionResponse]
    ) -> ApproveSessionResponse:
        session = await self._stores.approvals.approve(UUID(request.session_id), now=self._now())
        return ApproveSessionResponse(session=render_session(session))

    async def RejectSession(
        self, request: RejectSessionRequest, context: ServicerContext[RejectSessionRequest, RejectSessionResponse]
    ) -> RejectSessionResponse:
        session = await self._stores.approvals.reject(UUID(request.session_id), request.reason, now=self._now())
        return RejectSessionResponse(session=render_session(session))
