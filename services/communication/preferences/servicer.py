"""RPC handlers for notification preferences."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from mesh.data.etags import require_etag
from services.communication.preferences.wire import parse_changes, render_preferences
from solo60.communication.v1 import communication_pb2 as pb
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceServicer

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    import grpc.aio

    from mesh.transaction import Transaction
    from services.communication.preferences.domain import Category, Preferences
    from services.communication.preferences.links import UnsubscribeLinks
    from services.communication.preferences.store import PreferenceStore


class PreferenceServicer(CommunicationServiceServicer):
    """RPC handlers for notification preferences. `_now` returns the current time in UTC."""

    _preferences: PreferenceStore
    _links: UnsubscribeLinks
    _now: Callable[[], datetime]

    async def GetNotificationPreferences(
        self,
        request: pb.GetNotificationPreferencesRequest,
        context: grpc.aio.ServicerContext[pb.GetNotificationPreferencesRequest, pb.GetNotificationPreferencesResponse],
    ) -> pb.GetNotificationPreferencesResponse:
        preferences = await self._preferences.find(UUID(request.user_id))
        return pb.GetNotificationPreferencesResponse(preferences=render_preferences(preferences))

    async def UpdateNotificationPreferences(
        self,
        request: pb.UpdateNotificationPreferencesRequest,
        context: grpc.aio.ServicerContext[
            pb.UpdateNotificationPreferencesRequest, pb.UpdateNotificationPreferencesResponse
        ],
    ) -> pb.UpdateNotificationPreferencesResponse:
        async with self._preferences.transaction() as tx:
            work = partial(self._update, tx, request)
            return await tx.once(request, pb.UpdateNotificationPreferencesResponse, work)

    async def Unsubscribe(
        self,
        request: pb.UnsubscribeRequest,
        context: grpc.aio.ServicerContext[pb.UnsubscribeRequest, pb.UnsubscribeResponse],
    ) -> pb.UnsubscribeResponse:
        user_id, category = self._links.read(request.token)
        async with self._preferences.transaction() as tx:
            await self._change(tx, user_id, {category: False})
        return pb.UnsubscribeResponse()

    async def _update(
        self, tx: Transaction, request: pb.UpdateNotificationPreferencesRequest
    ) -> pb.UpdateNotificationPreferencesResponse:
        wanted = request.preferences
        changed = await self._change(tx, UUID(wanted.user_id), parse_changes(request), wanted.etag)
        return pb.UpdateNotificationPreferencesResponse(preferences=render_preferences(changed))

    async def _change(
        self, tx: Transaction, user_id: UUID, changes: dict[Category, bool], etag: str = ""
    ) -> Preferences:
        preferences = await self._preferences.lock(tx, user_id, self._now())
        if etag:
            require_etag(etag, render_preferences(preferences).etag)
        changed = preferences.with_changes(changes, self._now())
        await self._preferences.save(tx, changed)
        return changed
