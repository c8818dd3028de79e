"""Pending mails in the outbox. Each mail is a later call of SendSessionMail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.session.mails.domain import MailKind
from solo60.session.v1.session_pb2 import SendSessionMailRequest

if TYPE_CHECKING:
    from uuid import UUID

    from mesh.transaction import Transaction
    from solo60.session.v1.session_pb2_grpc import SessionServiceAsyncStub


class MailOutbox:
    """Writer of pending mails. Each method writes to the outbox in the transaction `tx`.

    Mails with one aggregate key are sent in order, so a recipient never gets the cancellation before the confirmation.
    """

    def __init__(self, sessions: SessionServiceAsyncStub) -> None:
        self._sessions = sessions

    async def add(self, tx: Transaction, session_id: UUID, kind: MailKind) -> None:
        """Mail the member who booked the session, or the admins if the mail is for them."""
        request = SendSessionMailRequest(session_id=str(session_id), template_key=kind)
        await tx.call_later(self._sessions.SendSessionMail, request, aggregate_key=str(session_id))

    async def add_for_guest(self, tx: Transaction, session_id: UUID, invitation_id: UUID, kind: MailKind) -> None:
        """Mail a guest."""
        request = SendSessionMailRequest(
            session_id=str(session_id), template_key=kind, invitation_id=str(invitation_id)
        )
        await tx.call_later(self._sessions.SendSessionMail, request, aggregate_key=str(invitation_id))

    async def add_for_waiting_member(self, tx: Transaction, session_id: UUID, entry_id: UUID) -> None:
        """Mail a member on the waiting list that a slot is free. These mails may arrive in any order."""
        request = SendSessionMailRequest(
            session_id=str(session_id), template_key=MailKind.SPOT_AVAILABLE, entry_id=str(entry_id)
        )
        await tx.call_later(self._sessions.SendSessionMail, request)
