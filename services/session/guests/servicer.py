"""RPC handlers of the session service for guests."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from contracts.mail_address import canonical
from mesh.data.pages import page_of
from services.session.wire import render_guest
from solo60.session.v1.session_pb2 import CancelInvitationResponse, InviteGuestResponse, ListGuestsResponse
from solo60.session.v1.session_pb2_grpc import SessionServiceServicer

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from grpc.aio import ServicerContext

    from mesh.transaction import Transaction
    from services.session.stores import Stores
    from solo60.session.v1.session_pb2 import CancelInvitationRequest, InviteGuestRequest, ListGuestsRequest


class GuestServicer(SessionServiceServicer):
    """RPC handlers for guests. `_now` returns the current time in UTC."""

    _stores: Stores
    _now: Callable[[], datetime]

    async def InviteGuest(
        self, request: InviteGuestRequest, context: ServicerContext[InviteGuestRequest, InviteGuestResponse]
    ) -> InviteGuestResponse:
        async with self._stores.guests.transaction() as tx:
            return await tx.once(request, InviteGuestResponse, partial(self._invite_guest, tx, request))

    async def CancelInvitation(
        self,
        request: CancelInvitationRequest,
        context: ServicerContext[CancelInvitationRequest, CancelInvitationResponse],
    ) -> CancelInvitationResponse:
        await self._stores.guests.cancel_invitation(UUID(request.invitation_id), self._now())
        return CancelInvitationResponse()

    async def ListGuests(
        self, request: ListGuestsRequest, context: ServicerContext[ListGuestsRequest, ListGuestsResponse]
    ) -> ListGuestsResponse:
        page = page_of(request)
        session_id = UUID(request.session_id)
        await self._stores.sessions.find(session_id)
        found = await self._stores.guests.list_of_session(session_id, page.limit, after=page.after(UUID))
        guests, next_page_token = page.cut(found, lambda last: last.invitation_id)
        return ListGuestsResponse(guests=map(render_guest, guests), next_page_token=next_page_token)

    async def _invite_guest(self, tx: Transaction, request: InviteGuestRequest) -> InviteGuestResponse:
        session_id, email = UUID(request.session_id), canonical(request.email)
        guest = await self._stores.guests.invite(tx, session_id, email, request.name, self._now())
        return InviteGuestResponse(guest=render_guest(guest))
