"""RPC handler for booking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.data.idempotency import keyed_call
from services.session.wire import parse_booking_call, parse_order, render_session
from solo60.session.v1.session_pb2 import BookSessionResponse
from solo60.session.v1.session_pb2_grpc import SessionServiceServicer

if TYPE_CHECKING:
    from grpc.aio import ServicerContext

    from services.session.booking.workflow import BookingWorkflow
    from services.session.sessions.domain import Session
    from solo60.session.v1.session_pb2 import BookSessionRequest


class BookingServicer(SessionServiceServicer):
    """RPC handler for booking."""

    _booking: BookingWorkflow

    async def BookSession(
        self, request: BookSessionRequest, context: ServicerContext[BookSessionRequest, BookSessionResponse]
    ) -> BookSessionResponse:
        order, card_token = parse_order(request), request.payment_method.card.card_token
        response = await self._booking.book(order, card_token, parse_booking_call(request, keyed_call()), _respond)
        return BookSessionResponse.FromString(response)


def _respond(session: Session) -> bytes:
    return BookSessionResponse(session=render_session(session)).SerializeToString()
