"""RPC handlers that mail users."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from contracts.errors import IdempotencyKeyReused, InvalidRequest
from interceptors.idempotency import IDEMPOTENCY_KEY
from mesh.serving.request_rules import as_own_error
from services.auth.codes.domain import new_code
from solo60.auth.v1.auth_pb2 import (
    AUTH_MAIL_ACCOUNT_VERIFICATION,
    AUTH_MAIL_EMAIL_CONFIRMATION,
    AUTH_MAIL_PASSWORD_RESET,
    AuthMail,
    SendAccountVerificationResponse,
    SendAuthMailResponse,
)
from solo60.auth.v1.auth_pb2_grpc import AuthServiceServicer
from solo60.communication.v1.communication_pb2 import Recipient, SendEmailAsyncRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from grpc.aio import ServicerContext

    from mesh.transaction import Transaction
    from services.auth.stores import Stores
    from services.auth.user_directory import UserDirectory
    from solo60.auth.v1.auth_pb2 import SendAccountVerificationRequest, SendAuthMailRequest
    from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceAsyncStub

WITH_CODE = {AUTH_MAIL_EMAIL_CONFIRMATION, AUTH_MAIL_PASSWORD_RESET}


class MailServicer(AuthServiceServicer):
    """RPC handlers that mail users. `_now` returns the current time in UTC."""

    _stores: Stores
    _users: UserDirectory
    _communication: CommunicationServiceAsyncStub
    _now: Callable[[], datetime]

    async def SendAccountVerification(
        self,
        request: SendAccountVerificationRequest,
        context: ServicerContext[SendAccountVerificationRequest, SendAccountVerificationResponse],
    ) -> SendAccountVerificationResponse:
        await self._users.require_active(UUID(request.user_id))
        async with self._stores.transaction() as tx:
            return await tx.once(request, SendAccountVerificationResponse, partial(self._verified, tx, request))

    async def SendAuthMail(
        self, request: SendAuthMailRequest, context: ServicerContext[SendAuthMailRequest, SendAuthMailResponse]
    ) -> SendAuthMailResponse:
        user = await self._users.find(UUID(request.user_id))
        if user is None:
            return SendAuthMailResponse(sent=False)
        variables = {"member_name": user.display_name}
        if request.mail in WITH_CODE:
            code = await self._store_code(UUID(request.message_id), user.email)
            if code is None:
                return SendAuthMailResponse(sent=False)
            variables["code"] = code
        recipient = Recipient(email=user.email, display_name=user.display_name, user_id=user.user_id)
        await self._send(request, recipient, variables)
        return SendAuthMailResponse(sent=True)

    async def _verified(
        self, tx: Transaction, request: SendAccountVerificationRequest
    ) -> SendAccountVerificationResponse:
        message_id = await self._stores.mails.add(tx, UUID(request.user_id), AUTH_MAIL_ACCOUNT_VERIFICATION)
        return SendAccountVerificationResponse(message_id=str(message_id))

    async def _store_code(self, code_id: UUID, email: str) -> str | None:
        """Create a code, store its hash, and return it; None if the code was replaced, is used or has expired.

        An earlier attempt to send the mail may have succeeded without an answer. Its code stays valid, because only
        one of the mails is sent.
        """
        code = new_code()
        async with self._stores.transaction() as tx:
            is_stored = await self._stores.codes.add_hash(tx, code_id, code, email, self._now())
        return code if is_stored else None

    async def _send(self, request: SendAuthMailRequest, recipient: Recipient, variables: dict[str, str]) -> None:
        mail = SendEmailAsyncRequest(
            message_id=request.message_id,
            recipient=recipient,
            template_key=AuthMail.Name(request.mail).removeprefix("AUTH_MAIL_"),
            variables=variables,
        )
        try:
            await self._communication.SendEmailAsync(mail, metadata=((IDEMPOTENCY_KEY, request.message_id),))
        except InvalidRequest as error:
            raise as_own_error(error) from error
        except IdempotencyKeyReused:
            # An earlier attempt has queued the mail, with another code or before the user's name changed.
            return
