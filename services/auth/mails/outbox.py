"""Pending mails in the outbox. Each mail is a later call of SendAuthMail."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from solo60.auth.v1.auth_pb2 import AuthMail, SendAuthMailRequest

if TYPE_CHECKING:
    from mesh.transaction import Transaction
    from solo60.auth.v1.auth_pb2_grpc import AuthServiceAsyncStub


class MailOutbox:
    """Writer of pending mails."""

    def __init__(self, auth: AuthServiceAsyncStub) -> None:
        self._auth = auth

    async def add(
        self, tx: Transaction, user_id: UUID, mail: AuthMail.ValueType, message_id: UUID | None = None
    ) -> UUID:
        """Mail a user after the transaction `tx` commits, and return the id of the mail, by default a new one."""
        message_id = message_id or uuid4()
        request = SendAuthMailRequest(message_id=str(message_id), user_id=str(user_id), mail=mail)
        await tx.call_later(self._auth.SendAuthMail, request)
        return message_id
