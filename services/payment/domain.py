"""Domain: what a session's payment may become, and which entries in the ledger each step makes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from contracts.errors import AlreadyCharged, CardDeclined, InsufficientCredits, PaymentNotFound, PaymentVoided

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

CREDIT = "CREDIT"


class Means(StrEnum):
    """What an amount is taken from, or given back to."""

    CREDITS = "credits"
    CARD = "card"


class Status(StrEnum):
    """How far a payment has come."""

    PENDING = "pending"
    CAPTURED = "captured"
    DECLINED = "declined"
    REFUNDED = "refunded"
    VOIDED = "voided"


class AccountKind(StrEnum):
    """Whose side of the ledger an account is. The sum of all accounts of a currency is zero."""

    MEMBER = "member"  # credits that a member can spend
    ISSUED = "issued"  # credits given out; below zero by as much as there are
    CARDS = "cards"  # money taken from members' cards; below zero by as much as was taken
    INCOME = "income"  # what sessions earned


@dataclass(frozen=True, slots=True)
class Account:
    """An account of the ledger: of a member, or without `user_id` of the house. `currency` is ISO 4217 or CREDIT."""

    kind: AccountKind
    currency: str
    user_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """What one transaction adds to one account, in the currency's minor units or in credits."""

    account: Account
    amount: int


@dataclass(frozen=True, slots=True)
class Price:
    """What a session costs: `minor_units` of `currency` by card, or `credits`."""

    currency: str
    minor_units: int
    credits: int


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be paid, by whom and how."""

    session_id: UUID
    user_id: UUID
    price: Price
    method: Means


@dataclass(frozen=True, slots=True)
class Refund:
    """What was given back: the money to the card, or the price in credits to the member."""

    means: Means
    reason: str
    create_time: datetime


@dataclass(frozen=True, slots=True)
class Payment:
    """One charge of one session."""

    payment_id: UUID
    order: Order
    status: Status
    refund: Refund | None
    create_time: datetime
    update_time: datetime


@dataclass(frozen=True, slots=True)
class Session:
    """What payment knows of a session.

    One with a `void_reason`, which may be empty, costs nothing: not now, and not by a charge to come.
    """

    session_id: UUID
    void_reason: str | None
    payment: Payment | None

    @property
    def is_void(self) -> bool:
        """Whether nothing may be taken for it any more."""
        return self.void_reason is not None

    def payment_of(self, order: Order) -> Payment | None:
        """Return the payment, captured or pending, that `order` repeats; None where it is the session's first.

        Raises CardDeclined, PaymentVoided or AlreadyCharged where the session does not take it.
        """
        payment = self.payment
        if payment is not None and payment.status is Status.DECLINED:
            raise CardDeclined
        if self.is_void or (payment is not None and payment.status in (Status.REFUNDED, Status.VOIDED)):
            raise PaymentVoided
        if payment is not None and payment.order != order:
            raise AlreadyCharged
        return payment

    def payment_to_credit_back(self) -> Payment:
        """Return the payment whose price can be, or was, given back; raise PaymentNotFound where nothing was taken."""
        if self.payment is None or self.payment.status in (Status.DECLINED, Status.VOIDED):
            raise PaymentNotFound
        return self.payment


def refuse_overdraft(balance: int, order: Order) -> None:
    """Raise InsufficientCredits when `balance` does not cover the order's price in credits."""
    if balance < order.price.credits:
        raise InsufficientCredits


def member(user_id: UUID) -> Account:
    """Return the account of a member's credits."""
    return Account(AccountKind.MEMBER, CREDIT, user_id)


def entries_of_grant(user_id: UUID, credits_granted: int) -> list[Entry]:
    """Return what gives credits to a member."""
    return [Entry(Account(AccountKind.ISSUED, CREDIT), -credits_granted), Entry(member(user_id), credits_granted)]


def entries_of_charge(order: Order) -> list[Entry]:
    """Return what takes the price of a session."""
    price = order.price
    if order.method is Means.CREDITS:
        return [Entry(member(order.user_id), -price.credits), Entry(Account(AccountKind.INCOME, CREDIT), price.credits)]
    return [
        Entry(Account(AccountKind.CARDS, price.currency), -price.minor_units),
        Entry(Account(AccountKind.INCOME, price.currency), price.minor_units),
    ]


def entries_of_return(order: Order, means: Means) -> list[Entry]:
    """Return what gives the price back: the reverse of the charge, or new credits for a price that a card paid."""
    if order.method is means:
        return [Entry(entry.account, -entry.amount) for entry in entries_of_charge(order)]
    return entries_of_grant(order.user_id, order.price.credits)
