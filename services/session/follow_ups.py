"""Follow-up calls of a session change: refunds, mails and events.

Follow-up calls are written to the outbox in the transaction of the change. The outbox delivers each call at least once,
so every called method is safe to repeat.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.outbox import call_later, publish
from services.session.domain import Mail
from services.session.guest_store import invitations_to
from services.session.messages import event_of
from services.session.waiting_list_store import entries_waiting_for
from solo60.payment.v1.payment_pb2 import CreditBackSessionRequest, RefundSessionRequest
from solo60.session.v1.events_pb2 import SessionBooked, SessionCancelled
from solo60.session.v1.session_pb2 import SendSessionMailRequest

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from mesh.data.database import Connection
    from services.session.domain import Guest, Session
    from solo60.payment.v1.payment_pb2_grpc import PaymentServiceAsyncStub
    from solo60.session.v1.session_pb2_grpc import SessionServiceAsyncStub

CANCELLED, REJECTED = "session cancelled", "session rejected"


class FollowUps:
    """Writer of follow-up calls. Each method writes to the outbox in the transaction of `connection`."""

    def __init__(self, payments: PaymentServiceAsyncStub, sessions: SessionServiceAsyncStub) -> None:
        self._payments = payments
        self._sessions = sessions

    async def of_booking(self, connection: Connection, session: Session) -> None:
        """Publish SessionBooked and send the mails due after payment."""
        await publish(connection, event_of(SessionBooked, session))
        for mail in session.mails_when_paid:
            await self._mail(connection, session.session_id, mail)

    async def of_release(self, connection: Connection, session: Session) -> None:
        """Refund a released slot and notify members who joined the waiting list while the slot was held.

        The refund also voids a charge that has not arrived yet. Members who joined before the hold were notified when
        the slot was last free.
        """
        await self._refund(connection, session, CANCELLED)
        await self._mail_waiting(connection, session, since=session.create_time)

    async def of_approval(self, connection: Connection, session: Session) -> None:
        """Mail the member that the session is confirmed."""
        for mail in session.mails_when_approved:
            await self._mail(connection, session.session_id, mail)

    async def of_rejection(self, connection: Connection, session: Session) -> None:
        """Refund a session the way it was paid, publish SessionCancelled and send the mails.

        The member, the guests and members waiting for the slot get a mail.
        """
        await self._refund(connection, session, REJECTED)
        await self._call_off(connection, session, Mail.REJECTED)

    async def of_cancellation(self, connection: Connection, session: Session) -> None:
        """Refund a session the way it was paid or in credits, publish SessionCancelled and send the mails.

        The member, the guests and members waiting for the slot get a mail.
        """
        if session.refunded_in_credits:
            request = CreditBackSessionRequest(session_id=str(session.session_id), reason=CANCELLED)
            await call_later(connection, self._payments.CreditBackSession, request)
        else:
            await self._refund(connection, session, CANCELLED)
        await self._call_off(connection, session, Mail.CANCELLED)

    async def of_invitation(self, connection: Connection, guest: Guest) -> None:
        """Mail the invitation to the guest."""
        await self._mail_guest(connection, guest.session_id, guest.invitation_id, Mail.GUEST_INVITED)

    async def of_invitation_taken_back(self, connection: Connection, guest: Guest) -> None:
        """Mail the guest that the invitation is cancelled."""
        await self._mail_guest(connection, guest.session_id, guest.invitation_id, Mail.GUEST_CANCELLED)

    async def _call_off(self, connection: Connection, session: Session, mail: Mail) -> None:
        await publish(connection, event_of(SessionCancelled, session))
        await self._mail(connection, session.session_id, mail)
        for invitation_id in await invitations_to(connection, session.session_id):
            await self._mail_guest(connection, session.session_id, invitation_id, Mail.GUEST_CANCELLED)
        await self._mail_waiting(connection, session, since=None)

    async def _refund(self, connection: Connection, session: Session, reason: str) -> None:
        request = RefundSessionRequest(session_id=str(session.session_id), reason=reason)
        await call_later(connection, self._payments.RefundSession, request)

    async def _mail_waiting(self, connection: Connection, session: Session, *, since: datetime | None) -> None:
        """Mail the members who wait for a released slot, once per release."""
        for entry_id in await entries_waiting_for(connection, session, since=since):
            request = SendSessionMailRequest(
                session_id=str(session.session_id), template_key=Mail.SPOT_AVAILABLE, entry_id=str(entry_id)
            )
            await call_later(connection, self._sessions.SendSessionMail, request)

    async def _mail(self, connection: Connection, session_id: UUID, mail: Mail) -> None:
        request = SendSessionMailRequest(session_id=str(session_id), template_key=mail)
        # The aggregate key keeps mails in order, so the member never gets the cancellation before the confirmation.
        await call_later(connection, self._sessions.SendSessionMail, request, aggregate_key=str(session_id))

    async def _mail_guest(self, connection: Connection, session_id: UUID, invitation_id: UUID, mail: Mail) -> None:
        request = SendSessionMailRequest(
            session_id=str(session_id), template_key=mail, invitation_id=str(invitation_id)
        )
        await call_later(connection, self._sessions.SendSessionMail, request, aggregate_key=str(invitation_id))
