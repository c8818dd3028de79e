"""Follow-up calls of a session change: refunds, mails and events.

Follow-up calls are written to the outbox in the transaction of the change. The outbox delivers each call at least once,
so every called method is safe to repeat.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.session.guests.store import invitations_to
from services.session.mails.domain import MailKind, mails_after_approval, mails_after_payment
from services.session.wire import render_event, render_rescheduled
from solo60.payment.v1.payment_pb2 import CreditBackSessionRequest, RefundSessionRequest
from solo60.session.v1.events_pb2 import SessionBooked, SessionCancelled

if TYPE_CHECKING:
    from datetime import datetime

    from mesh.transaction import Transaction
    from services.session.free_slots import FreeSlots
    from services.session.mails.outbox import MailOutbox
    from services.session.sessions.domain import Period, Session
    from solo60.payment.v1.payment_pb2_grpc import PaymentServiceAsyncStub

CANCELLED, REJECTED = "session cancelled", "session rejected"


class FollowUps:
    """Writer of follow-up calls. Each method writes to the outbox in the transaction `tx`."""

    def __init__(self, payments: PaymentServiceAsyncStub, mails: MailOutbox, free_slots: FreeSlots) -> None:
        self._payments = payments
        self._mails = mails
        self._free_slots = free_slots

    async def of_booking(self, tx: Transaction, session: Session) -> None:
        """Publish SessionBooked and send the mails due after payment. A claimed offer is settled."""
        await tx.publish(render_event(SessionBooked, session))
        for kind in mails_after_payment(session):
            await self._mails.add(tx, session, kind)
        await self._free_slots.after_booked_claim(tx, session, now=session.update_time)

    async def of_release(self, tx: Transaction, session: Session) -> None:
        """Refund the charge for a released slot, and announce the slot.

        The refund also voids a charge that has not arrived yet. Only members who joined the waiting list during the
        hold get a mail, because the others were notified when the slot was last free. The slot of a claimed offer is
        held again until the offer expires.
        """
        await self._refund(tx, session, CANCELLED)
        if session.offer_id is not None:
            await self._free_slots.after_failed_claim(tx, session, now=session.update_time)
        else:
            await self._announce(tx, session, session.order.period, since=session.create_time)

    async def of_approval(self, tx: Transaction, session: Session) -> None:
        """Mail the member that the session is confirmed."""
        for kind in mails_after_approval(session):
            await self._mails.add(tx, session, kind)

    async def of_move(self, tx: Transaction, session: Session, previous: Period) -> None:
        """Publish SessionRescheduled and send the mails to the member, the guests and the admins who must approve.

        The part of the previous period that is free now is announced to the waiting list.
        """
        await tx.publish(render_rescheduled(session, previous))
        await self._mails.add(tx, session, MailKind.RESCHEDULED)
        if session.quote.requires_approval:
            await self._mails.add(tx, session, MailKind.APPROVAL_REQUESTED)
        for invitation_id in await invitations_to(tx, session.session_id):
            await self._mails.add_for_guest(
                tx, session.session_id, invitation_id, MailKind.GUEST_RESCHEDULED, move=session.moves
            )
        for part in previous.minus(session.order.period):
            await self._announce(tx, session, part)

    async def of_rejection(self, tx: Transaction, session: Session) -> None:
        """Refund a session the way it was paid, publish SessionCancelled and send the mails.

        The member, the guests and members waiting for the slot get a mail.
        """
        await self._refund(tx, session, REJECTED)
        await self._announce_end(tx, session, MailKind.REJECTED)

    async def of_cancellation(self, tx: Transaction, session: Session) -> None:
        """Refund a session the way it was paid or in credits, publish SessionCancelled and send the mails.

        The member, the guests and members waiting for the slot get a mail.
        """
        if session.refunded_in_credits:
            request = CreditBackSessionRequest(session_id=str(session.session_id), reason=CANCELLED)
            await tx.call_later(self._payments.CreditBackSession, request)
        else:
            await self._refund(tx, session, CANCELLED)
        await self._announce_end(tx, session, MailKind.CANCELLED)

    async def _announce_end(self, tx: Transaction, session: Session, kind: MailKind) -> None:
        await tx.publish(render_event(SessionCancelled, session))
        await self._mails.add(tx, session, kind)
        for invitation_id in await invitations_to(tx, session.session_id):
            await self._mails.add_for_guest(tx, session.session_id, invitation_id, MailKind.GUEST_CANCELLED)
        await self._announce(tx, session, session.order.period)

    async def _refund(self, tx: Transaction, session: Session, reason: str) -> None:
        request = RefundSessionRequest(session_id=str(session.session_id), reason=reason)
        await tx.call_later(self._payments.RefundSession, request)

    async def _announce(
        self, tx: Transaction, session: Session, period: Period, *, since: datetime | None = None
    ) -> None:
        now, member_id = session.update_time, session.order.user_id
        await self._free_slots.announce(tx, session, period, now=now, except_user_id=member_id, since=since)
