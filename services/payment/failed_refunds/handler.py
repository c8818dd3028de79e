"""Webhook processing for failed refunds: the first report of a refund is stored, posted and mailed.

Further reports of it change nothing, so webhooks are not stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.data.conflicts import retried_on_conflict
from services.payment.domain import entries_of_failed_refund
from services.payment.failed_refunds.mail import notification_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from services.payment.domain import Payment
    from services.payment.failed_refunds.domain import FailedRefundReport
    from services.payment.store import Ledger, PaymentStore
    from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceAsyncStub


class FailedRefundHandler:
    """Handler of the card processor's reports about failed refunds."""

    def __init__(
        self, store: PaymentStore, communication: CommunicationServiceAsyncStub, now: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._communication = communication
        self._now = now

    @retried_on_conflict
    async def apply(self, report: FailedRefundReport) -> None:
        """Store a failed refund, post its money and notify the operators, once per refund.

        The payment keeps its status and its refunds, so that no call refunds the money again.
        """
        async with self._store.transaction() as ledger:
            now, session = self._now(), await ledger.lock_session_of_intent(report.intent_id)
            payment = session.payment if session else None
            if not await ledger.failed_refunds.add(report, payment.payment_id if payment else None, now):
                return
            if payment is not None:
                await self._post(ledger, payment, report, now)
            await ledger.call_later(self._communication.SendSystemNotification, notification_of(report, payment))

    @staticmethod
    async def _post(ledger: Ledger, payment: Payment, report: FailedRefundReport, now: datetime) -> None:
        await ledger.post(
            "refund_failed",
            entries_of_failed_refund(report.currency, report.minor_units),
            now,
            reason=report.reason,
            payment_id=payment.payment_id,
        )
