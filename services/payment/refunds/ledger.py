"""Refunds in the ledger."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from services.payment.domain import PaymentMethod, PaymentStatus, Refund, RefundStatus, entries_of_refund

if TYPE_CHECKING:
    from datetime import datetime

    from services.payment.credits.accounts import CreditAccounts
    from services.payment.domain import Payment
    from services.payment.store import Ledger


class RefundLedger:
    """Ledger entries of refunds."""

    def __init__(self, accounts: CreditAccounts) -> None:
        self._accounts = accounts

    async def refund_rest(
        self, ledger: Ledger, payment: Payment, payment_method: PaymentMethod, reason: str, now: datetime
    ) -> Payment:
        """Add the refund of all that is left of a captured payment of a locked session; return the payment."""
        is_same = payment_method is payment.order.payment_method
        amount = payment.rest if is_same else payment.rest_in_credits
        refund = Refund(payment_method, amount, reason, now)
        await ledger.refunds.add(payment, refund)
        return await self.post(ledger, replace(payment, refunds=(*payment.refunds, refund)), refund, now)

    async def post(self, ledger: Ledger, payment: Payment, refund: Refund, now: datetime) -> Payment:
        """Post a refund that is done. `payment` lists it. Return the payment, REFUNDED if nothing is left of it."""
        order = payment.order
        is_same = refund.payment_method is order.payment_method
        is_whole = is_same and refund.amount == order.amount
        if refund.payment_method is PaymentMethod.CREDITS:
            await self._accounts.lock(ledger, order.user_id, now)
        transaction_id = await ledger.post(
            "refund" if is_whole else "partial_refund" if is_same else "credit_back",
            entries_of_refund(order, refund.payment_method, refund.amount),
            now,
            reason=refund.reason,
            payment_id=payment.payment_id,
            reverses=await ledger.charge_of(payment) if is_whole else None,
        )
        if refund.payment_method is PaymentMethod.CREDITS:
            await self._accounts.give_back(ledger, payment, transaction_id, refund.amount, now)
        is_over = not is_same or payment.refunded(RefundStatus.DONE) == order.amount
        if payment.status is PaymentStatus.CAPTURED and is_over:
            return await ledger.end_payment(payment, refund, now)
        return payment
