"""Partial refunds of payments, each at most once per refund id.

As for charges, the card processor is called between two transactions. The first records the pending refund, so a
repeated call, or the refund of the whole session, can finish the work after a crash.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from contracts.errors import RefundIdReused, RefundRejected
from mesh.data.conflicts import retried_on_conflict
from services.payment.domain import PaymentMethod, Refund, RefundStatus, require_payment
from services.payment.refunds.domain import earlier_refund, require_refundable

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from uuid import UUID

    from services.payment.cards import CardProcessor
    from services.payment.domain import Payment
    from services.payment.refunds.domain import PartialRefund
    from services.payment.refunds.ledger import RefundLedger
    from services.payment.store import PaymentStore


class PartialRefunds:
    """Partial refunds. The session id is the key of the charge at `processor`, and the refund id that of the refund."""

    def __init__(
        self, store: PaymentStore, processor: CardProcessor, refund_ledger: RefundLedger, now: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._processor = processor
        self._refund_ledger = refund_ledger
        self._now = now

    async def refund(self, order: PartialRefund) -> Payment:
        """Refund a part of a captured payment, or return the payment if the same part is already refunded.

        Raises PaymentNotFound, PaymentNotCaptured, PaymentDisputed, RefundAbovePayment, RefundIdReused, or
        RefundRejected. After any other error the outcome is unknown: repeat the call to finish the refund.
        """
        payment, refund = await self._begin(order)
        if refund.status is RefundStatus.PENDING:
            payment, refund = await self._carry_out(payment, refund)
        if refund.status is RefundStatus.REJECTED:
            raise RefundRejected
        return payment

    async def finish_pending(self, payment: Payment) -> None:
        """Finish the pending refunds of a payment of a void session, to which no call adds another one."""
        for refund in payment.refunds:
            if refund.status is RefundStatus.PENDING:
                await self._carry_out(payment, refund)

    async def _carry_out(self, payment: Payment, refund: Refund) -> tuple[Payment, Refund]:
        session_id = payment.order.session_id
        is_done = await self._processor.refund_part(str(session_id), str(refund.refund_id), refund.amount)
        return await self._settle(session_id, refund, RefundStatus.DONE if is_done else RefundStatus.REJECTED)

    @retried_on_conflict
    async def _begin(self, order: PartialRefund) -> tuple[Payment, Refund]:
        """Return the refund of an earlier call, or add one: done for credits, pending for a card."""
        async with self._store.transaction() as ledger:
            session = await ledger.lock_session(order.session_id)
            payment, refund = earlier_refund(session, order)
            if refund is not None:
                return payment, refund
            require_refundable(session, payment, order)
            is_by_card = order.payment_method is PaymentMethod.CARD
            status = RefundStatus.PENDING if is_by_card else RefundStatus.DONE
            refund = Refund(
                order.payment_method, order.amount, order.reason, self._now(), status, refund_id=order.refund_id
            )
            if not await ledger.refunds.add(payment, refund):
                raise RefundIdReused
            payment = replace(payment, refunds=(*payment.refunds, refund))
            if not is_by_card:
                payment = await self._refund_ledger.post(ledger, payment, refund, self._now())
            return payment, refund

    @retried_on_conflict
    async def _settle(self, session_id: UUID, begun: Refund, status: RefundStatus) -> tuple[Payment, Refund]:
        """Record the outcome of a pending refund, unless a concurrent call has recorded it."""
        async with self._store.transaction() as ledger:
            payment = require_payment((await ledger.lock_session(session_id)).payment)
            refund = next(each for each in payment.refunds if each.refund_id == begun.refund_id)
            if refund.status is not RefundStatus.PENDING:
                return payment, refund
            await ledger.refunds.settle(refund, status)
            settled = replace(refund, status=status)
            refunds = tuple(settled if each is refund else each for each in payment.refunds)
            payment = replace(payment, refunds=refunds)
            if status is RefundStatus.DONE:
                payment = await self._refund_ledger.post(ledger, payment, settled, self._now())
            return payment, settled
