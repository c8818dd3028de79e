"""RPC handlers of the auth service for users who leave or are erased."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from mesh.data.conflicts import retried_on_conflict
from mesh.data.erasure import erase_keys_of_request, erase_user_data
from services.auth.attempts.domain import Subjects
from services.auth.wire import request_of_reset
from solo60.auth.v1.auth_pb2 import EraseAddressResponse, OnUserErasedResponse, OnUserLeftResponse
from solo60.auth.v1.auth_pb2_grpc import AuthServiceServicer

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from grpc.aio import ServicerContext

    from mesh.transaction import Transaction
    from services.auth.stores import Stores
    from solo60.auth.v1.auth_pb2 import EraseAddressRequest, OnUserErasedRequest, OnUserLeftRequest


class ErasureServicer(AuthServiceServicer):
    """RPC handlers for users who leave or are erased. `_now` returns the current time in UTC."""

    _stores: Stores
    _now: Callable[[], datetime]

    @retried_on_conflict
    async def OnUserLeft(
        self, request: OnUserLeftRequest, context: ServicerContext[OnUserLeftRequest, OnUserLeftResponse]
    ) -> OnUserLeftResponse:
        async with self._stores.transaction() as tx:
            await self._delete_account(tx, UUID(request.event.user_id))
        return OnUserLeftResponse()

    @retried_on_conflict
    async def OnUserErased(
        self, request: OnUserErasedRequest, context: ServicerContext[OnUserErasedRequest, OnUserErasedResponse]
    ) -> OnUserErasedResponse:
        user_id = UUID(request.event.user_id)
        async with self._stores.transaction() as tx:
            await self._delete_account(tx, user_id)
            await erase_user_data(tx.connection, user_id)
        return OnUserErasedResponse()

    @retried_on_conflict
    async def EraseAddress(
        self, request: EraseAddressRequest, context: ServicerContext[EraseAddressRequest, EraseAddressResponse]
    ) -> EraseAddressResponse:
        try:
            subjects, reset = Subjects.of(request.email, ""), request_of_reset(request.email)
        except ValueError:  # the contract rejects every request with such an address, so nothing is stored
            return EraseAddressResponse()
        async with self._stores.transaction() as tx:
            await self._stores.attempts.forget_address(tx, subjects)
            await erase_keys_of_request(tx.connection, reset)
        return EraseAddressResponse()

    async def _delete_account(self, tx: Transaction, user_id: UUID) -> None:
        await self._stores.passwords.delete(tx, user_id)
        await self._stores.codes.delete_of_user(tx, user_id)
        await self._stores.attempts.forget_user(tx, user_id)
        await self._stores.log_ins.revoke_all(tx, user_id, self._now())
