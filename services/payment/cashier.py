"""Charges and refunds of sessions, each at most once per session.

The card processor is called between two transactions, never within one. The first transaction records the intent (a
pending payment or a void session), so a later call can finish the work after a crash.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from contracts.errors import CardDeclined, PaymentNotFound, PaymentVoided
from services.payment.cards import CardOutcome
from services.payment.domain import (
    Means,
    Refund,
    Status,
    entries_of_charge,
    entries_of_grant,
    entries_of_return,
    refuse_overdraft,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from uuid import UUID

    from services.payment.cards import CardProcessor
    from services.payment.domain import Order, Payment
    from services.payment.store import Books, PaymentStore

_STATUS_AFTER = {
    CardOutcome.CAPTURED: Status.CAPTURED,
    CardOutcome.DECLINED: Status.DECLINED,
    CardOutcome.CALLED_OFF: Status.VOIDED,
}


class Cashier:
    """Charges, refunds and grants. The session id is the idempotency key at `processor`."""

    def __init__(self, store: PaymentStore, processor: CardProcessor, now: Callable[[], datetime]) -> None:
        self._store = store
        self._processor = processor
        self._now = now

    async def charge(self, order: Order, card_token: str) -> Payment:
        """Charge a session, or return its payment if the same order is already charged.

        Raises CardDeclined, InsufficientCredits, AlreadyCharged or PaymentVoided; the call then costs the member
        nothing. After any other error the outcome is unknown: repeat the call to finish the charge.
        """
        payment = await self._store.run(partial(self._begin, order=order))
        if payment.status is Status.PENDING:
            outcome = await self._processor.charge(_key(order.session_id), card_token, order.price)
            payment, is_void = await self._store.run(
                partial(self._settle, session_id=order.session_id, outcome=outcome)
            )
            if is_void and payment.status is Status.CAPTURED:
                payment = await self._return_to_card(order.session_id)
        if payment.status is Status.DECLINED:
            raise CardDeclined
        if payment.status is not Status.CAPTURED:
            raise PaymentVoided
        return payment

    async def refund(self, session_id: UUID, reason: str) -> Payment | None:
        """Refund a session the way it was paid, and prevent any later charge.

        Return its payment, which is then REFUNDED, VOIDED or DECLINED, or None if the session was never charged.
        """
        payment = await self._store.run(partial(self._begin_refund, session_id=session_id, reason=reason))
        return await self._finish_return(payment) if payment else None

    async def credit_back(self, session_id: UUID, reason: str) -> Payment:
        """Refund a session in credits, unless a refund is done or under way.

        Return its payment, which is then REFUNDED. Raise PaymentNotFound if nothing was charged. A pending card charge
        is prevented, or refunded to the card if it was captured.
        """
        payment = await self._store.run(partial(self._begin_credit_back, session_id=session_id, reason=reason))
        payment = await self._finish_return(payment)
        if payment.status is not Status.REFUNDED:
            raise PaymentNotFound
        return payment

    async def grant(self, books: Books, user_id: UUID, credits_granted: int, reason: str) -> int:
        """Grant credits to a user within the caller's transaction; return the new balance in credits."""
        await books.post("grant", entries_of_grant(user_id, credits_granted), self._now(), reason=reason)
        return await books.lock_balance(user_id)

    async def _begin(self, books: Books, order: Order) -> Payment:
        """Return the earlier payment of the same order, or add one: captured for credits, pending for a card."""
        session = await books.lock_session(order.session_id)
        payment = session.payment_of(order)
        if payment is not None:
            return payment
        if order.method is Means.CARD:
            return await books.add_payment(order, Status.PENDING, self._now())
        refuse_overdraft(await books.lock_balance(order.user_id), order)
        payment = await books.add_payment(order, Status.CAPTURED, self._now())
        await books.post("charge", entries_of_charge(order), self._now(), payment_id=payment.payment_id)
        return payment

    async def _settle(self, books: Books, session_id: UUID, outcome: CardOutcome) -> tuple[Payment, bool]:
        """Record the outcome of a pending charge; return the payment and whether the session is void."""
        session = await books.lock_session(session_id)
        payment = _known(session.payment)
        if payment.status is Status.PENDING:
            payment = await self._move(books, payment, _STATUS_AFTER[outcome])
        return payment, session.is_void

    async def _move(self, books: Books, payment: Payment, status: Status) -> Payment:
        if status is Status.CAPTURED:
            await books.post("charge", entries_of_charge(payment.order), self._now(), payment_id=payment.payment_id)
        return await books.move(payment, status, self._now())

    async def _begin_refund(self, books: Books, session_id: UUID, reason: str) -> Payment | None:
        """Refund a captured payment in credits. Void the session if it is uncharged or the payment is by card."""
        session = await books.lock_session(session_id)
        payment = session.payment
        if payment is not None and payment.status is Status.CAPTURED and payment.order.method is Means.CREDITS:
            return await self._give_back(books, payment, Means.CREDITS, reason)
        if payment is None or payment.status in (Status.PENDING, Status.CAPTURED):
            await books.void(session_id, reason, self._now())
        return payment

    async def _begin_credit_back(self, books: Books, session_id: UUID, reason: str) -> Payment:
        session = await books.lock_session(session_id)
        payment = session.payment_to_credit_back()
        if payment.status is Status.PENDING:
            await books.void(session_id, reason, self._now())
        # A captured payment of a void session is being refunded to the card. Credits as well would refund it twice.
        if payment.status is Status.CAPTURED and not session.is_void:
            return await self._give_back(books, payment, Means.CREDITS, reason)
        return payment

    async def _finish_return(self, payment: Payment) -> Payment:
        """Finish the card refund of a void session. A payment in a final status is returned unchanged."""
        if payment.status in (Status.PENDING, Status.CAPTURED):
            return await self._return_to_card(payment.order.session_id)
        return payment

    async def _return_to_card(self, session_id: UUID) -> Payment:
        was_taken = await self._processor.give_back(_key(session_id))
        return await self._store.run(partial(self._settle_return, session_id=session_id, was_taken=was_taken))

    async def _settle_return(self, books: Books, session_id: UUID, *, was_taken: bool) -> Payment:
        """Record that the processor refunded (`was_taken`) or prevented the charge of a void session."""
        session = await books.lock_session(session_id)
        payment = _known(session.payment)
        if payment.status is Status.PENDING:
            payment = await self._move(books, payment, Status.CAPTURED if was_taken else Status.VOIDED)
        if payment.status is Status.CAPTURED:
            payment = await self._give_back(books, payment, Means.CARD, session.void_reason or "")
        return payment

    async def _give_back(self, books: Books, payment: Payment, means: Means, reason: str) -> Payment:
        """Record the refund of a captured payment, in the ledger and on the payment."""
        await books.post(
            "refund" if means is payment.order.method else "credit_back",
            entries_of_return(payment.order, means),
            self._now(),
            reason=reason,
            payment_id=payment.payment_id,
            reverses=await books.charge_of(payment) if means is payment.order.method else None,
        )
        return await books.refund(payment, Refund(means, reason, self._now()))


def _key(session_id: UUID) -> str:
    return str(session_id)


def _known(payment: Payment | None) -> Payment:
    """Return `payment`; raise LookupError if it is None. Payments are never deleted, so a charged session has one."""
    if payment is None:
        raise LookupError("the charged session has no payment, but payments are never deleted")
    return payment
