"""Follow-ups: what a change of a session entails elsewhere, written with the change and done once, however late."""

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

    from mesh.database import Connection
    from services.session.domain import Guest, Session
    from solo60.payment.v1.payment_pb2_grpc import PaymentServiceAsyncStub
    from solo60.session.v1.session_pb2_grpc import SessionServiceAsyncStub

CANCELLED, REJECTED = "session cancelled", "session rejected"


class FollowUps:
    """Leaves to the outbox what follows; each method writes in the transaction of the connection that it is given."""

    def __init__(self, payments: PaymentServiceAsyncStub, sessions: SessionServiceAsyncStub) -> None:
        self._payments = payments
        self._sessions = sessions

    async def of_booking(self, connection: Connection, session: Session) -> None:
        """Tell the world that a session is paid, and its member or the admins what there is to know."""
        await publish(connection, event_of(SessionBooked, session))
        for mail in session.mails_when_paid:
            await self._mail(connection, session.session_id, mail)

    async def of_release(self, connection: Connection, session: Session) -> None:
        """See to it that a slot that was held costs nothing: also where its charge is yet to arrive.

        Who began to wait for it while it was held is told; all others know that it was free before.
        """
        await self._refund(connection, session, CANCELLED)
        await self._tell_waiting(connection, session, since=session.create_time)

    async def of_approval(self, connection: Connection, session: Session) -> None:
        """Tell the member of a session that it is confirmed."""
        for mail in session.mails_when_approved:
            await self._mail(connection, session.session_id, mail)

    async def of_rejection(self, connection: Connection, session: Session) -> None:
        """Give the price of a session back, the way it was paid, and tell everybody."""
        await self._refund(connection, session, REJECTED)
        await self._call_off(connection, session, Mail.REJECTED)

    async def of_cancellation(self, connection: Connection, session: Session) -> None:
        """Give the price of a session back, the way it was paid or in credits, and tell everybody."""
        if session.refunded_in_credits:
            request = CreditBackSessionRequest(session_id=str(session.session_id), reason=CANCELLED)
            await call_later(connection, self._payments.CreditBackSession, request)
        else:
            await self._refund(connection, session, CANCELLED)
        await self._call_off(connection, session, Mail.CANCELLED)

    async def of_invitation(self, connection: Connection, guest: Guest) -> None:
        """Mail an invitation."""
        await self._mail_guest(connection, guest.session_id, guest.invitation_id, Mail.GUEST_INVITED)

    async def of_invitation_taken_back(self, connection: Connection, guest: Guest) -> None:
        """Tell a guest that there is nothing to come to."""
        await self._mail_guest(connection, guest.session_id, guest.invitation_id, Mail.GUEST_CANCELLED)

    async def _call_off(self, connection: Connection, session: Session, mail: Mail) -> None:
        await publish(connection, event_of(SessionCancelled, session))
        await self._mail(connection, session.session_id, mail)
        for invitation_id in await invitations_to(connection, session.session_id):
            await self._mail_guest(connection, session.session_id, invitation_id, Mail.GUEST_CANCELLED)
        await self._tell_waiting(connection, session, since=None)

    async def _refund(self, connection: Connection, session: Session, reason: str) -> None:
        request = RefundSessionRequest(session_id=str(session.session_id), reason=reason)
        await call_later(connection, self._payments.RefundSession, request)

    async def _tell_waiting(self, connection: Connection, session: Session, *, since: datetime | None) -> None:
        """Mail those who wait for a slot, once each time that it becomes free: this is written with the change."""
        for entry_id in await entries_waiting_for(connection, session, since=since):
            request = SendSessionMailRequest(
                session_id=str(session.session_id), template_key=Mail.SPOT_AVAILABLE, entry_id=str(entry_id)
            )
            await call_later(connection, self._sessions.SendSessionMail, request)

    async def _mail(self, connection: Connection, session_id: UUID, mail: Mail) -> None:
        request = SendSessionMailRequest(session_id=str(session_id), template_key=mail)
        # In the order of what happened: nobody reads first that a session is cancelled, and then that it is booked.
        await call_later(connection, self._sessions.SendSessionMail, request, aggregate_key=str(session_id))

    async def _mail_guest(self, connection: Connection, session_id: UUID, invitation_id: UUID, mail: Mail) -> None:
        request = SendSessionMailRequest(
            session_id=str(session_id), template_key=mail, invitation_id=str(invitation_id)
        )
        await call_later(connection, self._sessions.SendSessionMail, request, aggregate_key=str(invitation_id))
