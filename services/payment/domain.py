"""Domain of the payment service: payments, their statuses, and their ledger entries."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from contracts.errors import AlreadyCharged, CardDeclined, PaymentNotFound, PaymentVoided

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

CREDIT = "CREDIT"


class PaymentMethod(StrEnum):
    """Payment or refund method."""

    CREDITS = "credits"
    CARD = "card"


class PaymentStatus(StrEnum):
    """Status of a payment."""

    PENDING = "pending"
    CAPTURED = "captured"
    DECLINED = "declined"
    REFUNDED = "refunded"
    VOIDED = "voided"


class AccountKind(StrEnum):
    """Kind of a ledger account. All accounts of one currency sum to zero."""

    MEMBER = "member"  # a member's credits; never negative
    ISSUED = "issued"  # counterpart of credits granted to members and not expired; never positive
    CARDS = "cards"  # counterpart of money charged to cards; never positive
    INCOME = "income"  # revenue from sessions


@dataclass(frozen=True, slots=True)
class Account:
    """Ledger account of a member, or of the company if `user_id` is None. `currency` is an ISO 4217 code or CREDIT."""

    kind: AccountKind
    currency: str
    user_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """Amount that one transaction adds to one account, in minor units of the currency or in credits."""

    account: Account
    amount: int


@dataclass(frozen=True, slots=True)
class Price:
    """Price of a session: `minor_units` of `currency` by card, or `credits`."""

    currency: str
    minor_units: int
    credits: int


@dataclass(frozen=True, slots=True)
class ChargeOrder:
    """Order to charge one session to one user by one payment method."""

    session_id: UUID
    user_id: UUID
    price: Price
    payment_method: PaymentMethod


@dataclass(frozen=True, slots=True)
class Refund:
    """Refund of a payment, to the card or in credits."""

    payment_method: PaymentMethod
    reason: str
    create_time: datetime


@dataclass(frozen=True, slots=True)
class Payment:
    """One charge of one session."""

    payment_id: UUID
    order: ChargeOrder
    status: PaymentStatus
    refund: Refund | None
    create_time: datetime
    update_time: datetime


@dataclass(frozen=True, slots=True)
class PaymentState:
    """Payment state of a session.

    A session is void if `void_reason` is not None; the reason may be empty. A void session cannot be charged.
    """

    session_id: UUID
    void_reason: str | None
    payment: Payment | None

    @property
    def is_void(self) -> bool:
        """Whether the session can no longer be charged."""
        return self.void_reason is not None

    def payment_of(self, order: ChargeOrder) -> Payment | None:
        """Return the captured or pending payment of the same order, or None if the session has no payment.

        Raises CardDeclined after a decline, PaymentVoided if the session is void or its payment refunded or voided, and
        AlreadyCharged if the payment has another order.
        """
        payment = self.payment
        if payment is not None and payment.status is PaymentStatus.DECLINED:
            raise CardDeclined
        if self.is_void or (payment is not None and payment.status in (PaymentStatus.REFUNDED, PaymentStatus.VOIDED)):
            raise PaymentVoided
        if payment is not None and payment.order != order:
            raise AlreadyCharged
        return payment

    def payment_to_credit_back(self) -> Payment:
        """Return the payment, possibly pending or already refunded; raise PaymentNotFound if nothing was charged."""
        if self.payment is None or self.payment.status in (PaymentStatus.DECLINED, PaymentStatus.VOIDED):
            raise PaymentNotFound
        return self.payment


def member_account(user_id: UUID) -> Account:
    """Return the credit account of a member."""
    return Account(AccountKind.MEMBER, CREDIT, user_id)


def entries_of_grant(user_id: UUID, credits_granted: int) -> list[Entry]:
    """Return the entries that grant credits to a member."""
    return [
        Entry(Account(AccountKind.ISSUED, CREDIT), -credits_granted),
        Entry(member_account(user_id), credits_granted),
    ]


def entries_of_expiry(user_id: UUID, credits_expired: int) -> list[Entry]:
    """Return the entries that take expired credits from a member: those of a grant, reversed."""
    return entries_of_grant(user_id, -credits_expired)


def entries_of_charge(order: ChargeOrder) -> list[Entry]:
    """Return the entries that charge an order."""
    price = order.price
    if order.payment_method is PaymentMethod.CREDITS:
        return [
            Entry(member_account(order.user_id), -price.credits),
            Entry(Account(AccountKind.INCOME, CREDIT), price.credits),
        ]
    return [
        Entry(Account(AccountKind.CARDS, price.currency), -price.minor_units),
        Entry(Account(AccountKind.INCOME, price.currency), price.minor_units),
    ]


def entries_of_refund(order: ChargeOrder, payment_method: PaymentMethod) -> list[Entry]:
    """Return the entries that refund an order: the reversed charge, or a grant of credits for a card payment."""
    if order.payment_method is payment_method:
        return [Entry(entry.account, -entry.amount) for entry in entries_of_charge(order)]
    return entries_of_grant(order.user_id, order.price.credits)
