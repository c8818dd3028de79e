"""Charges and refunds of sessions, each at most once per session.

The card processor is called between two transactions, never within one. The first transaction records the intent (a
pending payment or a void session), so a later call can finish the work after a crash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.errors import CardDeclined, PaymentNotFound, PaymentVoided
from mesh.data.conflicts import retried_on_conflict
from services.payment.cards import CardOutcome
from services.payment.domain import PaymentMethod, PaymentStatus, entries_of_charge, require_payment
from services.payment.refunds.ledger import RefundLedger
from services.payment.refunds.workflow import PartialRefunds

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from uuid import UUID

    from services.payment.cards import CardProcessor
    from services.payment.credits.accounts import CreditAccounts
    from services.payment.domain import ChargeOrder, Payment
    from services.payment.refunds.domain import PartialRefund
    from services.payment.store import Ledger, PaymentStore

_STATUS_AFTER = {
    CardOutcome.CAPTURED: PaymentStatus.CAPTURED,
    CardOutcome.DECLINED: PaymentStatus.DECLINED,
    CardOutcome.CALLED_OFF: PaymentStatus.VOIDED,
}


class Cashier:
    """Charges and refunds. The session id is the idempotency key at `processor`."""

    def __init__(
        self, store: PaymentStore, processor: CardProcessor, accounts: CreditAccounts, now: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._processor = processor
        self._accounts = accounts
        self._refund_ledger = RefundLedger(accounts)
        self._partial_refunds = PartialRefunds(store, processor, self._refund_ledger, now)
        self._now = now

    async def charge(self, order: ChargeOrder, card_token: str) -> Payment:
        """Charge a session, or return its payment if the same order is already charged.

        Raises CardDeclined, InsufficientCredits, AlreadyCharged or PaymentVoided; the call then costs the member
        nothing. After any other error the outcome is unknown: repeat the call to finish the charge.
        """
        payment = await self._begin_charge(order)
        if payment.status is PaymentStatus.PENDING:
            outcome = await self._processor.charge(_key(order.session_id), card_token, order.price)
            payment, is_void = await self._settle_charge(order.session_id, outcome)
            if is_void and payment.status is PaymentStatus.CAPTURED:
                payment = await self._refund_card(order.session_id)
        if payment.status is PaymentStatus.DECLINED:
            raise CardDeclined
        if payment.status is not PaymentStatus.CAPTURED:
            raise PaymentVoided
        return payment

    async def refund(self, session_id: UUID, reason: str) -> Payment | None:
        """Refund a session the way it was paid, and prevent any later charge.

        Return its payment, which is then REFUNDED, VOIDED, DECLINED or disputed, or None if the session was never
        charged. A disputed payment is refunded when the dispute is won.
        """
        payment = await self._begin_refund(session_id, reason)
        return await self._finish_card_refund(payment) if payment else None

    async def refund_part(self, order: PartialRefund) -> Payment:
        """Refund a part of a captured payment; see PartialRefunds.refund."""
        return await self._partial_refunds.refund(order)

    async def credit_back(self, session_id: UUID, reason: str) -> Payment:
        """Refund a session in credits, unless a refund is done or under way.

        Return its payment, which is then REFUNDED or disputed. Raise PaymentNotFound if nothing was charged. A pending
        card charge is prevented, or refunded to the card if it was captured.
        """
        payment = await self._begin_credit_back(session_id, reason)
        payment = await self._finish_card_refund(payment)
        if payment.status is not PaymentStatus.REFUNDED and not payment.is_disputed:
            raise PaymentNotFound
        return payment

    @retried_on_conflict
    async def _begin_charge(self, order: ChargeOrder) -> Payment:
        """Return the earlier payment of the same order, or add one: captured for credits, pending for a card."""
        async with self._store.transaction() as ledger:
            session = await ledger.lock_session(order.session_id)
            payment = session.payment_of(order)
            if payment is not None:
                return payment
            if order.payment_method is PaymentMethod.CARD:
                return await ledger.add_payment(order, PaymentStatus.PENDING, self._now())
            now = self._now()
            payment = await ledger.add_payment(order, PaymentStatus.CAPTURED, now)
            await self._accounts.charge(ledger, payment, now)
            return payment

    @retried_on_conflict
    async def _settle_charge(self, session_id: UUID, outcome: CardOutcome) -> tuple[Payment, bool]:
        """Record the outcome of a pending charge; return the payment and whether the session is void."""
        async with self._store.transaction() as ledger:
            session = await ledger.lock_session(session_id)
            payment = require_payment(session.payment)
            if payment.status is PaymentStatus.PENDING:
                payment = await self._set_status(ledger, payment, _STATUS_AFTER[outcome])
            return payment, session.is_void

    async def _set_status(self, ledger: Ledger, payment: Payment, status: PaymentStatus) -> Payment:
        if status is PaymentStatus.CAPTURED:
            await ledger.post("charge", entries_of_charge(payment.order), self._now(), payment_id=payment.payment_id)
        return await ledger.set_status(payment, status, self._now())

    @retried_on_conflict
    async def _begin_refund(self, session_id: UUID, reason: str) -> Payment | None:
        """Refund a captured payment in credits. Void the session if it is uncharged or the payment is by card."""
        async with self._store.transaction() as ledger:
            session = await ledger.lock_session(session_id)
            payment = session.payment
            if (
                payment is not None
                and payment.status is PaymentStatus.CAPTURED
                and payment.order.payment_method is PaymentMethod.CREDITS
            ):
                return await self._refund_ledger.refund_rest(
                    ledger, payment, PaymentMethod.CREDITS, reason, self._now()
                )
            if payment is None or payment.status in (PaymentStatus.PENDING, PaymentStatus.CAPTURED):
                await ledger.void(session_id, reason, self._now())
            return payment

    @retried_on_conflict
    async def _begin_credit_back(self, session_id: UUID, reason: str) -> Payment:
        async with self._store.transaction() as ledger:
            session = await ledger.lock_session(session_id)
            payment = session.payment_to_credit_back()
            if payment.status is PaymentStatus.PENDING:
                await ledger.void(session_id, reason, self._now())
            if payment.is_disputed:
                await ledger.void(session_id, reason, self._now())
                return payment
            # A captured payment of a void session, or without a rest, is being refunded to the card. Credits would
            # refund it a second time.
            if payment.status is PaymentStatus.CAPTURED and not session.is_void and payment.rest:
                return await self._refund_ledger.refund_rest(
                    ledger, payment, PaymentMethod.CREDITS, reason, self._now()
                )
            return payment

    async def _finish_card_refund(self, payment: Payment) -> Payment:
        """Finish the card refund of a void session.

        A payment in a final status is returned unchanged, and so is a disputed one: the card processor has taken its
        money back, and rejects refunds.
        """
        if payment.status in (PaymentStatus.PENDING, PaymentStatus.CAPTURED) and not payment.is_disputed:
            await self._partial_refunds.finish_pending(payment)
            return await self._refund_card(payment.order.session_id)
        return payment

    async def _refund_card(self, session_id: UUID) -> Payment:
        was_captured = await self._processor.refund(_key(session_id))
        return await self._settle_card_refund(session_id, was_captured=was_captured)

    @retried_on_conflict
    async def _settle_card_refund(self, session_id: UUID, *, was_captured: bool) -> Payment:
        """Record that the processor refunded (`was_captured`) or prevented the charge of a void session."""
        async with self._store.transaction() as ledger:
            session = await ledger.lock_session(session_id)
            payment = require_payment(session.payment)
            if payment.status is PaymentStatus.PENDING:
                payment = await self._set_status(
                    ledger, payment, PaymentStatus.CAPTURED if was_captured else PaymentStatus.VOIDED
                )
            if payment.status is PaymentStatus.CAPTURED:
                payment = await self._refund_ledger.refund_rest(
                    ledger, payment, PaymentMethod.CARD, session.void_reason or "", self._now()
                )
            return payment


def _key(session_id: UUID) -> str:
    return str(session_id)
