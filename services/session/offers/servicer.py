"""RPC handlers for offers of freed slots."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from mesh.data.idempotency import keyed_call
from services.session.wire import (
    parse_booking_call,
    parse_payment_method,
    parse_waiting_list_mode,
    render_offer,
    render_session,
)
from solo60.session.v1.session_pb2 import (
    ClaimOfferResponse,
    DeclineOfferResponse,
    ExpireOfferResponse,
    GetOfferResponse,
    OnWaitingListModeChangedResponse,
)
from solo60.session.v1.session_pb2_grpc import SessionServiceServicer

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from grpc.aio import ServicerContext

    from services.session.booking.workflow import BookingWorkflow
    from services.session.sessions.domain import Session
    from services.session.stores import Stores
    from solo60.session.v1.session_pb2 import (
        ClaimOfferRequest,
        DeclineOfferRequest,
        ExpireOfferRequest,
        GetOfferRequest,
        OnWaitingListModeChangedRequest,
    )


class OfferServicer(SessionServiceServicer):
    """RPC handlers for offers. `_now` returns the current time in UTC."""

    _stores: Stores
    _booking: BookingWorkflow
    _now: Callable[[], datetime]

    async def GetOffer(
        self, request: GetOfferRequest, context: ServicerContext[GetOfferRequest, GetOfferResponse]
    ) -> GetOfferResponse:
        return GetOfferResponse(offer=render_offer(await self._stores.offers.find(UUID(request.offer_id))))

    async def ClaimOffer(
        self, request: ClaimOfferRequest, context: ServicerContext[ClaimOfferRequest, ClaimOfferResponse]
    ) -> ClaimOfferResponse:
        method, card_token = parse_payment_method(request.payment_method), request.payment_method.card.card_token
        call = parse_booking_call(request, keyed_call())
        response = await self._booking.claim(UUID(request.offer_id), method, card_token, call, _respond)
        return ClaimOfferResponse.FromString(response)

    async def DeclineOffer(
        self, request: DeclineOfferRequest, context: ServicerContext[DeclineOfferRequest, DeclineOfferResponse]
    ) -> DeclineOfferResponse:
        await self._stores.offers.decline(UUID(request.offer_id), now=self._now())
        return DeclineOfferResponse()

    async def ExpireOffer(
        self, request: ExpireOfferRequest, context: ServicerContext[ExpireOfferRequest, ExpireOfferResponse]
    ) -> ExpireOfferResponse:
        await self._stores.offers.expire(UUID(request.offer_id), now=self._now())
        return ExpireOfferResponse()

    async def OnWaitingListModeChanged(
        self,
        request: OnWaitingListModeChangedRequest,
        context: ServicerContext[OnWaitingListModeChangedRequest, OnWaitingListModeChangedResponse],
    ) -> OnWaitingListModeChangedResponse:
        mode = parse_waiting_list_mode(request.event.waiting_list_mode)
        await self._stores.offers.set_mode(UUID(request.event.gym_id), mode)
        return OnWaitingListModeChangedResponse()


def _respond(session: Session) -> bytes:
    return ClaimOfferResponse(session=render_session(session)).SerializeToString()
