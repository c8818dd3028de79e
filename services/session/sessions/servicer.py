"""RPC handlers for reading sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from mesh.data.pages import page_of
from services.session.wire import parse_status, render_session
from solo60.session.v1.session_pb2 import ListUserSessionsResponse
from solo60.session.v1.session_pb2_grpc import SessionServiceServicer

if TYPE_CHECKING:
    from grpc.aio import ServicerContext

    from services.session.sessions.relations import Relations
    from services.session.stores import Stores
    from solo60.session.v1.session_pb2 import GetSessionRequest, GetSessionResponse, ListUserSessionsRequest


class ReadServicer(SessionServiceServicer):
    """RPC handlers for reading sessions."""

    _stores: Stores
    _relations: Relations

    async def GetSession(
        self, request: GetSessionRequest, context: ServicerContext[GetSessionRequest, GetSessionResponse]
    ) -> GetSessionResponse:
        session = await self._stores.sessions.find(UUID(request.session_id))
        return await self._relations.of(render_session(session), request.include)

    async def ListUserSessions(
        self,
        request: ListUserSessionsRequest,
        context: ServicerContext[ListUserSessionsRequest, ListUserSessionsResponse],
    ) -> ListUserSessionsResponse:
        page = page_of(request)
        found = await self._stores.sessions.list_of_user(
            UUID(request.user_id), parse_status(request.status), page.limit, after=page.after(UUID)
        )
        sessions, next_page_token = page.cut(found, lambda last: last.session_id)
        return ListUserSessionsResponse(sessions=map(render_session, sessions), next_page_token=next_page_token)
