"""Webhook processing for disputes: each report moves a dispute forward, or changes nothing.

Duplicate, late and reordered webhooks lead to the same state, so webhooks are not stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.data.conflicts import retried_on_conflict
from services.payment.disputes.domain import DisputeStatus
from services.payment.disputes.mail import notification_of
from services.payment.domain import PaymentStatus, entries_of_dispute
from solo60.payment.v1.payment_pb2 import RefundSessionRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from services.payment.disputes.domain import DisputeReport
    from services.payment.domain import Payment, PaymentState
    from services.payment.store import Ledger, PaymentStore
    from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceAsyncStub
    from solo60.payment.v1.payment_pb2_grpc import PaymentServiceAsyncStub


class DisputeHandler:
    """Handler of the card processor's reports about disputes."""

    def __init__(
        self,
        store: PaymentStore,
        payments: PaymentServiceAsyncStub,
        communication: CommunicationServiceAsyncStub,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._payments = payments
        self._communication = communication
        self._now = now

    @retried_on_conflict
    async def apply(self, report: DisputeReport) -> None:
        """Move a dispute forward, with its money, and notify the operators; a late or repeated report does nothing."""
        async with self._store.transaction() as ledger:
            now, session = self._now(), await ledger.lock_session_of_intent(report.intent_id)
            payment = session.payment if session else None
            before, minor_units = await ledger.disputes.lock(report, payment.payment_id if payment else None, now)
            after = before.after(report.status)
            if after is before:
                return
            await ledger.disputes.set_status(report.dispute_id, after, now)
            if payment is not None and before.has_taken_money is not after.has_taken_money:
                await self._post(ledger, payment, report, minor_units if after.has_taken_money else -minor_units, now)
            if session and payment and after is DisputeStatus.WON:
                await self._resume_refund(ledger, session, payment)
            notification = notification_of(report, after, payment)
            await ledger.call_later(self._communication.SendSystemNotification, notification)

    @staticmethod
    async def _post(ledger: Ledger, payment: Payment, report: DisputeReport, minor_units: int, now: datetime) -> None:
        """Post the disputed money: taken back by the card processor, or returned if the amount is negative."""
        await ledger.post(
            "dispute" if minor_units > 0 else "dispute_won",
            entries_of_dispute(report.currency, minor_units),
            now,
            reason=report.reason,
            payment_id=payment.payment_id,
        )

    async def _resume_refund(self, ledger: Ledger, session: PaymentState, payment: Payment) -> None:
        """Schedule the refund of a session that was to be refunded during the dispute."""
        if session.void_reason is not None and payment.status in (PaymentStatus.PENDING, PaymentStatus.CAPTURED):
            request = RefundSessionRequest(session_id=str(session.session_id), reason=session.void_reason)
            await ledger.call_later(self._payments.RefundSession, request)
