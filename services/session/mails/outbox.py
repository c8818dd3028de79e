"""Pending mails in the outbox. Each mail is a later call of SendSessionMail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.session.mails.domain import MailKind
from services.session.wire import render_period
from solo60.session.v1.session_pb2 import SendSessionMailRequest

if TYPE_CHECKING:
    from uuid import UUID

    from mesh.transaction import Transaction
    from services.session.sessions.domain import Period, Session
    from solo60.session.v1.session_pb2_grpc import SessionServiceAsyncStub


class MailOutbox:
    """Writer of pending mails. Each method writes to the outbox in the transaction `tx`.

    Mails with one aggregate key are sent in order, so a recipient never gets the cancellation before the confirmation.
    """

    def __init__(self, sessions: SessionServiceAsyncStub) -> None:
        self._sessions = sessions

    async def add(self, tx: Transaction, session: Session, kind: MailKind) -> None:
        """Mail the member who booked the session, or the admins if the mail is for them."""
        session_id = str(session.session_id)
        request = SendSessionMailRequest(session_id=session_id, template_key=kind, move=session.moves)
        await tx.call_later(self._sessions.SendSessionMail, request, aggregate_key=session_id)

    async def add_for_guest(
        self, tx: Transaction, session_id: UUID, invitation_id: UUID, kind: MailKind, *, move: int = 0
    ) -> None:
        """Mail a guest. `move` is the number of the session's move that the mail is about."""
        request = SendSessionMailRequest(
            session_id=str(session_id), template_key=kind, invitation_id=str(invitation_id), move=move
        )
        await tx.call_later(self._sessions.SendSessionMail, request, aggregate_key=str(invitation_id))

    async def add_for_waiting_member(self, tx: Transaction, session: Session, entry_id: UUID, period: Period) -> None:
        """Mail a member on the waiting list that `session` has released a period. The mails may arrive in any order."""
        request = SendSessionMailRequest(
            session_id=str(session.session_id),
            template_key=MailKind.SPOT_AVAILABLE,
            entry_id=str(entry_id),
            move=session.moves,
            free_period=render_period(period),
        )
        await tx.call_later(self._sessions.SendSessionMail, request)

    async def add_for_offer(self, tx: Transaction, session_id: UUID, offer_id: UUID) -> None:
        """Mail a member on the waiting list that a slot is offered."""
        request = SendSessionMailRequest(
            session_id=str(session_id), template_key=MailKind.SLOT_OFFERED, offer_id=str(offer_id)
        )
        await tx.call_later(self._sessions.SendSessionMail, request)
