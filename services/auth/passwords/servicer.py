"""RPC handlers that reset passwords."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from contracts.errors import CodeInvalid
from mesh.data.conflicts import retried_on_conflict
from services.auth.attempts.domain import Subjects
from services.auth.codes.domain import Purpose
from services.auth.constant_time import pad
from services.auth.passwords.blocklist import require_uncommon
from services.auth.user_directory import id_of
from services.auth.wire import request_of_reset
from solo60.auth.v1.auth_pb2 import (
    AUTH_MAIL_PASSWORD_CHANGED,
    AUTH_MAIL_PASSWORD_RESET,
    ConfirmPasswordResetRequest,
    ConfirmPasswordResetResponse,
    RequestPasswordResetResponse,
)
from solo60.auth.v1.auth_pb2_grpc import AuthServiceServicer

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from uuid import UUID

    from grpc.aio import ServicerContext

    from mesh.transaction import Transaction
    from services.auth.codes.owner import CodeOwners
    from services.auth.codes.store import FoundCode
    from services.auth.passwords.hasher import Hasher
    from services.auth.stores import Stores
    from services.auth.user_directory import UserDirectory
    from solo60.auth.v1.auth_pb2 import RequestPasswordResetRequest


@dataclass(frozen=True, slots=True)
class Reset:
    """A new password: its code, its hash, and the address whose failed attempts are forgotten."""

    code: FoundCode
    password_hash: str
    subjects: Subjects


class PasswordServicer(AuthServiceServicer):
    """RPC handlers that reset passwords. `_now` returns the current time in UTC."""

    _stores: Stores
    _hasher: Hasher
    _users: UserDirectory
    _code_owners: CodeOwners
    _now: Callable[[], datetime]

    async def RequestPasswordReset(
        self,
        request: RequestPasswordResetRequest,
        context: ServicerContext[RequestPasswordResetRequest, RequestPasswordResetResponse],
    ) -> RequestPasswordResetResponse:
        started_s = monotonic()
        user = await self._users.find_by_email(request.email)
        work = partial(self._begin_reset, id_of(user) if user else None)
        async with self._stores.transaction() as tx:
            response = await tx.once(request_of_reset(request.email), RequestPasswordResetResponse, partial(work, tx))
        await pad(started_s)
        return response

    async def ConfirmPasswordReset(
        self,
        request: ConfirmPasswordResetRequest,
        context: ServicerContext[ConfirmPasswordResetRequest, ConfirmPasswordResetResponse],
    ) -> ConfirmPasswordResetResponse:
        require_uncommon(request.new_password)
        code = await self._stores.codes.find(request.code, Purpose.PASSWORD_RESET, self._now())
        user = await self._code_owners.confirm(code, request.code) if code else None
        if code is None or user is None:
            return await self._reset_once(request, None)
        password_hash = await self._hasher.hash(request.new_password)
        return await self._reset_once(request, Reset(code, password_hash, Subjects.of(user.email, "")))

    async def _begin_reset(self, user_id: UUID | None, tx: Transaction) -> RequestPasswordResetResponse:
        if user_id is not None:
            code_id = await self._stores.codes.replace(tx, user_id, Purpose.PASSWORD_RESET, self._now())
            await self._stores.mails.add(tx, user_id, AUTH_MAIL_PASSWORD_RESET, code_id)
        return RequestPasswordResetResponse()

    @retried_on_conflict
    async def _reset_once(
        self, request: ConfirmPasswordResetRequest, reset: Reset | None
    ) -> ConfirmPasswordResetResponse:
        # A fast hash of the request is stored with the key, so the request must not contain the password.
        stored = ConfirmPasswordResetRequest(code=request.code)
        async with self._stores.transaction() as tx:
            return await tx.once(stored, ConfirmPasswordResetResponse, partial(self._reset, tx, reset))

    async def _reset(self, tx: Transaction, reset: Reset | None) -> ConfirmPasswordResetResponse:
        if reset is None or not await self._stores.codes.use(tx, reset.code, self._now()):
            raise CodeInvalid
        user_id = reset.code.user_id
        await self._stores.passwords.set(tx, user_id, reset.password_hash, self._now())
        await self._stores.log_ins.revoke_all(tx, user_id, self._now())
        await self._stores.attempts.forget_address(tx, reset.subjects)
        await self._stores.mails.add(tx, user_id, AUTH_MAIL_PASSWORD_CHANGED)
        return ConfirmPasswordResetResponse()
