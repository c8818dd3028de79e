"""RPC handlers for reading sessions."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from mesh.data.pages import page_of
from services.session.wire import parse_period, parse_session_filter, parse_statuses, render_session
from solo60.session.v1.session_pb2 import ListGymSessionsResponse, ListUserSessionsResponse
from solo60.session.v1.session_pb2_grpc import SessionServiceServicer

if TYPE_CHECKING:
    from collections.abc import Callable

    from grpc.aio import ServicerContext

    from services.session.sessions.domain import Session
    from services.session.sessions.relations import Relations
    from services.session.stores import Stores
    from solo60.session.v1.session_pb2 import (
        GetSessionRequest,
        GetSessionResponse,
        ListGymSessionsRequest,
        ListUserSessionsRequest,
    )


class ReadServicer(SessionServiceServicer):
    """RPC handlers for reading sessions. `_now` returns the current time in UTC."""

    _stores: Stores
    _relations: Relations
    _now: Callable[[], datetime]

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
        wanted, after = parse_session_filter(request, self._now()), page.after(datetime.fromisoformat, UUID)
        found = await self._stores.sessions.list_of_user(UUID(request.user_id), wanted, page.limit, after=after)
        sessions, next_page_token = page.cut(found, _start, _id)
        return ListUserSessionsResponse(sessions=map(render_session, sessions), next_page_token=next_page_token)

    async def ListGymSessions(
        self,
        request: ListGymSessionsRequest,
        context: ServicerContext[ListGymSessionsRequest, ListGymSessionsResponse],
    ) -> ListGymSessionsResponse:
        page = page_of(request)
        period, statuses = parse_period(request.period), parse_statuses(request.statuses)
        after = page.after(datetime.fromisoformat, UUID)
        found = await self._stores.sessions.list_of_gym(UUID(request.gym_id), period, statuses, page.limit, after=after)
        sessions, next_page_token = page.cut(found, _start, _id)
        return ListGymSessionsResponse(sessions=map(render_session, sessions), next_page_token=next_page_token)


def _start(session: Session) -> datetime:
    return session.order.period.start


def _id(session: Session) -> UUID:
    return session.session_id
