"""RPC handlers of the session service."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from contracts.errors import SessionNotFound
from mesh.data.pages import page_of
from services.session.domain import Letter
from services.session.guest_servicer import GuestServicer
from services.session.messages import (
    call_of,
    mail_of,
    order_of,
    period_message,
    period_of,
    session_message,
    status_of,
)
from services.session.waiting_list_servicer import WaitingListServicer
from solo60.session.v1.session_pb2 import (
    ApproveSessionResponse,
    CancelSessionResponse,
    CheckConflictsResponse,
    ListUserSessionsResponse,
    OnUserLeftResponse,
    RefundMeans,
    RejectSessionResponse,
    SendSessionMailResponse,
    WatchAvailabilityResponse,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime

    from grpc.aio import ServicerContext

    from services.session.availability import Availability
    from services.session.booking import BookingDesk
    from services.session.directory import Directory
    from services.session.domain import Session
    from services.session.mails import Mailer
    from services.session.relations import Relations
    from services.session.stores import Stores
    from solo60.session.v1.session_pb2 import (
        ApproveSessionRequest,
        BookSessionRequest,
        BookSessionResponse,
        CancelSessionRequest,
        CheckConflictsRequest,
        GetSessionRequest,
        GetSessionResponse,
        ListUserSessionsRequest,
        OnUserLeftRequest,
        RejectSessionRequest,
        SendSessionMailRequest,
        WatchAvailabilityRequest,
    )


class SessionServicer(GuestServicer, WaitingListServicer):
    """RPC handlers for sessions. `now` returns the current time in UTC."""

    def __init__(
        self,
        stores: Stores,
        booking_desk: BookingDesk,
        directory: Directory,
        mailer: Mailer,
        relations: Relations,
        availability: Availability,
        now: Callable[[], datetime],
    ) -> None:
        self._stores = stores
        self._booking_desk = booking_desk
        self._directory = directory
        self._mailer = mailer
        self._relations = relations
        self._availability = availability
        self._now = now

    async def GetSession(
        self, request: GetSessionRequest, context: ServicerContext[GetSessionRequest, GetSessionResponse]
    ) -> GetSessionResponse:
        session = await self._found(request.session_id)
        return await self._relations.of(session_message(session), request.include)

    async def ListUserSessions(
        self,
        request: ListUserSessionsRequest,
        context: ServicerContext[ListUserSessionsRequest, ListUserSessionsResponse],
    ) -> ListUserSessionsResponse:
        page = page_of(request)
        found = await self._stores.sessions.list_of_user(
            UUID(request.user_id), status_of(request.status), page.limit, after=page.after(UUID)
        )
        sessions, next_page_token = page.cut(found, lambda last: last.session_id)
        return ListUserSessionsResponse(sessions=map(session_message, sessions), next_page_token=next_page_token)

    async def CheckConflicts(
        self, request: CheckConflictsRequest, context: ServicerContext[CheckConflictsRequest, CheckConflictsResponse]
    ) -> CheckConflictsResponse:
        busy = await self._stores.sessions.busy_periods(UUID(request.gym_id), period_of(request.period))
        return CheckConflictsResponse(conflicting_periods=map(period_message, busy))

    async def BookSession(
        self, request: BookSessionRequest, context: ServicerContext[BookSessionRequest, BookSessionResponse]
    ) -> BookSessionResponse:
        return await self._booking_desk.book(order_of(request), call_of(request), request.payment_method)

    async def CancelSession(
        self, request: CancelSessionRequest, context: ServicerContext[CancelSessionRequest, CancelSessionResponse]
    ) -> CancelSessionResponse:
        session = await self._stores.decisions.cancel(
            UUID(request.session_id),
            request.reason,
            now=self._now(),
            in_credits=request.refund_in == RefundMeans.REFUND_MEANS_CREDITS,
        )
        return CancelSessionResponse(session=session_message(session))

    async def ApproveSession(
        self, request: ApproveSessionRequest, context: ServicerContext[ApproveSessionRequest, ApproveSessionResponse]
    ) -> ApproveSessionResponse:
        session = await self._stores.decisions.approve(UUID(request.session_id), now=self._now())
        return ApproveSessionResponse(session=session_message(session))

    async def RejectSession(
        self, request: RejectSessionRequest, context: ServicerContext[RejectSessionRequest, RejectSessionResponse]
    ) -> RejectSessionResponse:
        session = await self._stores.decisions.reject(UUID(request.session_id), request.reason, now=self._now())
        return RejectSessionResponse(session=session_message(session))

    async def SendSessionMail(
        self, request: SendSessionMailRequest, context: ServicerContext[SendSessionMailRequest, SendSessionMailResponse]
    ) -> SendSessionMailResponse:
        mail, session = mail_of(request.template_key), await self._found(request.session_id)
        guest = await self._stores.guests.find(UUID(request.invitation_id)) if request.invitation_id else None
        waiting = await self._stores.waiting_list.find(UUID(request.entry_id)) if request.entry_id else None
        letter = Letter(mail, session, guest, waiting)
        if not letter.is_outdated(self._now()):
            await self._mailer.send(letter)
        return SendSessionMailResponse()

    async def OnUserLeft(
        self, request: OnUserLeftRequest, context: ServicerContext[OnUserLeftRequest, OnUserLeftResponse]
    ) -> OnUserLeftResponse:
        user_id, now = UUID(request.event.user_id), self._now()
        await self._stores.decisions.cancel_coming_of(user_id, "member left", now=now)
        await self._stores.waiting_list.leave_all(user_id, now)
        return OnUserLeftResponse()

    async def WatchAvailability(
        self,
        request: WatchAvailabilityRequest,
        context: ServicerContext[WatchAvailabilityRequest, WatchAvailabilityResponse],
    ) -> AsyncIterator[WatchAvailabilityResponse]:
        gym_id, window = UUID(request.gym_id), period_of(request.period)
        last_sent = None
        with self._availability.watching(gym_id) as watcher:
            while True:
                busy = await self._stores.sessions.busy_periods(gym_id, window)
                if busy != last_sent:
                    yield WatchAvailabilityResponse(busy_periods=map(period_message, busy))
                    last_sent = busy
                await watcher.change()

    async def _found(self, session_id: str) -> Session:
        session = await self._stores.sessions.find(UUID(session_id))
        if session is None:
            raise SessionNotFound
        return session
