"""Cashier: takes the price of a session once and gives it back once, whoever asks how often and whatever breaks.

The card company is asked between two transactions, never within one. What the first of them wrote (a pending payment, a
void session) lets any later call take up what an earlier one left undone.
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
    """Takes and gives back. `processor` knows each session's charge by the session id."""

    def __init__(self, store: PaymentStore, processor: CardProcessor, now: Callable[[], datetime]) -> None:
        self._store = store
        self._processor = processor
        self._now = now

    async def charge(self, order: Order, card_token: str) -> Payment:
        """Take the price of a session, or return the payment that took it before.

        Raises CardDeclined, InsufficientCredits, AlreadyCharged or PaymentVoided; the member is then charged nothing,
        or nothing more. Where it is raised out by anything else, the same call again finds out how far it came.
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
        """Give back what a session took, the way it was paid, and see to it that it takes nothing any more.

        Return its payment, which then is REFUNDED, VOIDED or DECLINED; None where there never was one.
        """
        payment = await self._store.run(partial(self._begin_refund, session_id=session_id, reason=reason))
        return await self._finish_return(payment) if payment else None

    async def credit_back(self, session_id: UUID, reason: str) -> Payment:
        """Give the price of a session back in credits, unless it was, or is being, given back already.

        Return its payment, which then is REFUNDED; raise PaymentNotFound where nothing was taken. A card charge of
        which nobody knows how far it came is called off: what it took goes back to the card.
        """
        payment = await self._store.run(partial(self._begin_credit_back, session_id=session_id, reason=reason))
        payment = await self._finish_return(payment)
        if payment.status is not Status.REFUNDED:
            raise PaymentNotFound
        return payment

    async def grant(self, books: Books, user_id: UUID, credits_granted: int, reason: str) -> int:
        """Give a user credits within the caller's transaction, and return how many there are then."""
        await books.post("grant", entries_of_grant(user_id, credits_granted), self._now(), reason=reason)
        return await books.lock_balance(user_id)

    async def _begin(self, books: Books, order: Order) -> Payment:
        """Find the payment that `order` repeats, or make one: captured with credits, pending with a card."""
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
        """Record what the company made of a pending charge; return the payment, and whether it is to be given back."""
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
        """Give credits back; make void what was not charged, or what only the card company can give back."""
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
        # Captured and void: a refund is on its way to the card, and giving credits as well would be twice.
        if payment.status is Status.CAPTURED and not session.is_void:
            return await self._give_back(books, payment, Means.CREDITS, reason)
        return payment

    async def _finish_return(self, payment: Payment) -> Payment:
        """Bring a payment of a void session to its end; one that has ended stays as it is."""
        if payment.status in (Status.PENDING, Status.CAPTURED):
            return await self._return_to_card(payment.order.session_id)
        return payment

    async def _return_to_card(self, session_id: UUID) -> Payment:
        was_taken = await self._processor.give_back(_key(session_id))
        return await self._store.run(partial(self._settle_return, session_id=session_id, was_taken=was_taken))

    async def _settle_return(self, books: Books, session_id: UUID, *, was_taken: bool) -> Payment:
        """Record that the company gave a void session's charge back, or kept it from being made."""
        session = await books.lock_session(session_id)
        payment = _known(session.payment)
        if payment.status is Status.PENDING:
            payment = await self._move(books, payment, Status.CAPTURED if was_taken else Status.VOIDED)
        if payment.status is Status.CAPTURED:
            payment = await self._give_back(books, payment, Means.CARD, session.void_reason or "")
        return payment

    async def _give_back(self, books: Books, payment: Payment, means: Means, reason: str) -> Payment:
        """Give the price of a captured payment back, in the ledger and on the payment."""
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
    """Return the payment of a session whose charge has begun: payments are never deleted."""
    if payment is None:
        raise LookupError("the payment of a charged session is gone")
    return payment
