"""RPC handlers of the session service for erasure."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from solo60.session.v1.session_pb2 import EraseAddressResponse, OnUserErasedResponse
from solo60.session.v1.session_pb2_grpc import SessionServiceServicer

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from grpc.aio import ServicerContext

    from services.session.stores import Stores
    from solo60.session.v1.session_pb2 import EraseAddressRequest, OnUserErasedRequest


class ErasureServicer(SessionServiceServicer):
    """RPC handlers for erasure. `_now` returns the current time in UTC."""

    _stores: Stores
    _now: Callable[[], datetime]

    async def OnUserErased(
        self, request: OnUserErasedRequest, context: ServicerContext[OnUserErasedRequest, OnUserErasedResponse]
    ) -> OnUserErasedResponse:
        await self._stores.erasures.erase_user(UUID(request.event.user_id), self._now())
        return OnUserErasedResponse()

    async def EraseAddress(
        self, request: EraseAddressRequest, context: ServicerContext[EraseAddressRequest, EraseAddressResponse]
    ) -> EraseAddressResponse:
        await self._stores.erasures.erase_address(request.email, self._now())
        return EraseAddressResponse()
