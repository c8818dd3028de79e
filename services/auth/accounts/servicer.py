"""RPC handlers for sign-up and confirmation of email addresses."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from contracts.errors import CodeInvalid
from mesh.data.idempotency import keyed_call
from services.auth.codes.domain import Purpose
from services.auth.passwords.blocklist import require_uncommon
from solo60.auth.v1.auth_pb2 import (
    AUTH_MAIL_EMAIL_CONFIRMATION,
    ConfirmEmailResponse,
    SendEmailConfirmationResponse,
    SignUpRequest,
    SignUpResponse,
)
from solo60.auth.v1.auth_pb2_grpc import AuthServiceServicer

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from grpc.aio import ServicerContext

    from mesh.transaction import Transaction
    from services.auth.codes.owner import CodeOwners
    from services.auth.codes.store import FoundCode
    from services.auth.passwords.hasher import Hasher
    from services.auth.stores import Stores
    from services.auth.user_directory import UserDirectory
    from solo60.auth.v1.auth_pb2 import ConfirmEmailRequest, SendEmailConfirmationRequest


class AccountServicer(AuthServiceServicer):
    """RPC handlers for sign-up and confirmation. `_now` returns the current time in UTC."""

    _stores: Stores
    _hasher: Hasher
    _users: UserDirectory
    _code_owners: CodeOwners
    _now: Callable[[], datetime]

    async def SignUp(
        self, request: SignUpRequest, context: ServicerContext[SignUpRequest, SignUpResponse]
    ) -> SignUpResponse:
        require_uncommon(request.password)
        password_hash = await self._hasher.hash(request.password)
        user_id = await self._users.create(request.email, request.display_name, _key_of_creation())
        # A fast hash of the request is stored with the key, so the request must not contain the password.
        stored = SignUpRequest(email=request.email, display_name=request.display_name)
        async with self._stores.transaction() as tx:
            return await tx.once(stored, SignUpResponse, partial(self._sign_up, tx, user_id, password_hash))

    async def SendEmailConfirmation(
        self,
        request: SendEmailConfirmationRequest,
        context: ServicerContext[SendEmailConfirmationRequest, SendEmailConfirmationResponse],
    ) -> SendEmailConfirmationResponse:
        await self._users.require_active(UUID(request.user_id))
        async with self._stores.transaction() as tx:
            return await tx.once(request, SendEmailConfirmationResponse, partial(self._send_code, tx, request))

    async def ConfirmEmail(
        self, request: ConfirmEmailRequest, context: ServicerContext[ConfirmEmailRequest, ConfirmEmailResponse]
    ) -> ConfirmEmailResponse:
        code = await self._stores.codes.find(request.code, Purpose.EMAIL_CONFIRMATION, self._now())
        if code is not None and await self._code_owners.confirm(code, request.code) is None:
            code = None
        async with self._stores.transaction() as tx:
            return await tx.once(request, ConfirmEmailResponse, partial(self._use_code, tx, code))

    async def _sign_up(self, tx: Transaction, user_id: UUID, password_hash: str) -> SignUpResponse:
        await self._stores.passwords.set(tx, user_id, password_hash, self._now())
        await self._mail_code(tx, user_id)
        return SignUpResponse(user_id=str(user_id))

    async def _send_code(self, tx: Transaction, request: SendEmailConfirmationRequest) -> SendEmailConfirmationResponse:
        message_id = await self._mail_code(tx, UUID(request.user_id))
        return SendEmailConfirmationResponse(message_id=str(message_id))

    async def _mail_code(self, tx: Transaction, user_id: UUID) -> UUID:
        code_id = await self._stores.codes.replace(tx, user_id, Purpose.EMAIL_CONFIRMATION, self._now())
        return await self._stores.mails.add(tx, user_id, AUTH_MAIL_EMAIL_CONFIRMATION, code_id)

    async def _use_code(self, tx: Transaction, code: FoundCode | None) -> ConfirmEmailResponse:
        if code is None or not await self._stores.codes.use(tx, code, self._now()):
            raise CodeInvalid
        return ConfirmEmailResponse(user_id=str(code.user_id))


def _key_of_creation() -> str:
    """Return the idempotency key for CreateUser, the same in each repetition of this call.

    If the process dies after CreateUser, a repeated SignUp gets the same user and completes it.
    """
    call = keyed_call()
    return hashlib.sha256(f"sign-up/{call.caller}/{call.idempotency_key}".encode()).hexdigest()
