"""RPC handlers for the availability of gyms."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from services.session.wire import parse_period, render_period
from solo60.session.v1.session_pb2 import CheckConflictsResponse, WatchAvailabilityResponse
from solo60.session.v1.session_pb2_grpc import SessionServiceServicer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from grpc.aio import ServicerContext

    from services.session.availability.watchers import Watchers
    from services.session.stores import Stores
    from solo60.session.v1.session_pb2 import CheckConflictsRequest, WatchAvailabilityRequest


class AvailabilityServicer(SessionServiceServicer):
    """RPC handlers for the availability of gyms."""

    _stores: Stores
    _watchers: Watchers

    async def CheckConflicts(
        self, request: CheckConflictsRequest, context: ServicerContext[CheckConflictsRequest, CheckConflictsResponse]
    ) -> CheckConflictsResponse:
        busy = await self._stores.sessions.busy_periods(UUID(request.gym_id), parse_period(request.period))
        return CheckConflictsResponse(conflicting_periods=map(render_period, busy))

    async def WatchAvailability(
        self,
        request: WatchAvailabilityRequest,
        context: ServicerContext[WatchAvailabilityRequest, WatchAvailabilityResponse],
    ) -> AsyncIterator[WatchAvailabilityResponse]:
        gym_id, window = UUID(request.gym_id), parse_period(request.period)
        last_sent = None
        with self._watchers.watching(gym_id) as watcher:
            while True:
                busy = await self._stores.sessions.busy_periods(gym_id, window)
                if busy != last_sent:
                    yield WatchAvailabilityResponse(busy_periods=map(render_period, busy))
                    last_sent = busy
                await watcher.change()
