"""RPC handler for moving sessions."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from mesh.data.conflicts import retried_on_conflict
from mesh.data.etags import require_etag
from services.session.sessions.store import lock_session
from services.session.wire import parse_bookable_period, render_session
from solo60.session.v1.session_pb2 import RescheduleSessionResponse
from solo60.session.v1.session_pb2_grpc import SessionServiceServicer

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from grpc.aio import ServicerContext

    from mesh.transaction import Transaction
    from services.session.directory import Directory
    from services.session.sessions.domain import Period, Quote
    from services.session.stores import Stores
    from solo60.session.v1.session_pb2 import RescheduleSessionRequest


class RescheduleServicer(SessionServiceServicer):
    """RPC handler for moving sessions. `_now` returns the current time in UTC."""

    _stores: Stores
    _directory: Directory
    _now: Callable[[], datetime]

    async def RescheduleSession(
        self,
        request: RescheduleSessionRequest,
        context: ServicerContext[RescheduleSessionRequest, RescheduleSessionResponse],
    ) -> RescheduleSessionResponse:
        period = parse_bookable_period(request.period)
        period.require_not_past(self._now())
        session = await self._stores.sessions.find(UUID(request.session_id))
        quote = await self._directory.quote(session.order.gym_id, period)
        return await self._reschedule(request, period, quote)

    @retried_on_conflict
    async def _reschedule(
        self, request: RescheduleSessionRequest, period: Period, quote: Quote
    ) -> RescheduleSessionResponse:
        async with self._stores.reschedules.transaction() as tx:
            move = partial(self._move, tx, request, period, quote)
            return await tx.once(request, RescheduleSessionResponse, move)

    async def _move(
        self, tx: Transaction, request: RescheduleSessionRequest, period: Period, quote: Quote
    ) -> RescheduleSessionResponse:
        session = await lock_session(tx, UUID(request.session_id))
        require_etag(request.etag, render_session(session).etag)
        moved = await self._stores.reschedules.move(tx, session, period, quote, self._now())
        return RescheduleSessionResponse(session=render_session(moved))
