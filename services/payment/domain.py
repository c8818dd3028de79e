"""Domain of the payment service: payments, their statuses, and their ledger entries."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from contracts.errors import AlreadyCharged, CardDeclined, PaymentNotFound, PaymentVoided

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from services.payment.disputes.domain import Dispute
    from services.payment.failed_refunds.domain import FailedRefund

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
    DISPUTES = "disputes"  # money that the card processor took back for disputes; never negative
    OWED = "owed"  # money of all failed refunds, also if it was returned in another way; never negative


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

    @property
    def amount(self) -> int:
        """Amount to charge, in minor units for a card or in credits."""
        return self.price.credits if self.payment_method is PaymentMethod.CREDITS else self.price.minor_units


class RefundStatus(StrEnum):
    """Status of a refund. A pending refund may have reached the card processor; a rejected one returned nothing."""

    PENDING = "pending"
    DONE = "done"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Refund:
    """Refund of a payment, to the card in minor units or in credits. The database chooses a missing id."""

    payment_method: PaymentMethod
    amount: int
    reason: str
    create_time: datetime
    status: RefundStatus = RefundStatus.DONE
    refund_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Payment:
    """One charge of one session, with its refunds, also pending and rejected ones, and its disputes, oldest first.

    `failed_refunds` failed or were canceled after the card processor had accepted them. They remain in `refunds`.
    """

    payment_id: UUID
    order: ChargeOrder
    status: PaymentStatus
    create_time: datetime
    update_time: datetime
    refunds: tuple[Refund, ...] = ()
    disputes: tuple[Dispute, ...] = ()
    failed_refunds: tuple[FailedRefund, ...] = ()

    @property
    def is_disputed(self) -> bool:
        """Whether the card processor has taken the money back for a dispute."""
        return any(dispute.status.has_taken_money for dispute in self.disputes)

    @property
    def rest(self) -> int:
        """Part that no refund has returned or may return, in minor units of a card payment or in credits."""
        return self.order.amount - self.refunded(RefundStatus.DONE, RefundStatus.PENDING)

    @property
    def rest_in_credits(self) -> int:
        """The same share of the price in credits as the rest is of the payment, rounded up."""
        return -(-self.order.price.credits * self.rest // self.order.amount)

    def refunded(self, *statuses: RefundStatus) -> int:
        """Return the sum of the refunds with these statuses in the payment's own method."""
        own = [refund for refund in self.refunds if refund.payment_method is self.order.payment_method]
        return sum(refund.amount for refund in own if refund.status in statuses)


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
    if order.payment_method is PaymentMethod.CREDITS:
        return _moved(member_account(order.user_id), Account(AccountKind.INCOME, CREDIT), order.amount)
    currency = order.price.currency
    return _moved(Account(AccountKind.CARDS, currency), Account(AccountKind.INCOME, currency), order.amount)


def entries_of_refund(order: ChargeOrder, payment_method: PaymentMethod, amount: int) -> list[Entry]:
    """Return the entries that refund a part of an order: the charge reversed, or credits for a card payment."""
    if order.payment_method is not payment_method:
        return entries_of_grant(order.user_id, amount)
    payer, income = (entry.account for entry in entries_of_charge(order))
    return _moved(income, payer, amount)


def entries_of_dispute(currency: str, minor_units: int) -> list[Entry]:
    """Return the entries for money that the card processor takes back; with a negative amount, for its return."""
    return _moved(Account(AccountKind.INCOME, currency), Account(AccountKind.DISPUTES, currency), minor_units)


def entries_of_failed_refund(currency: str, minor_units: int) -> list[Entry]:
    """Return the entries that move the money of a failed refund from the cards to the money owed."""
    return _moved(Account(AccountKind.CARDS, currency), Account(AccountKind.OWED, currency), minor_units)


def require_payment(payment: Payment | None) -> Payment:
    """Return `payment`; raise LookupError if it is None. Payments are never deleted, so a charged session has one."""
    if payment is None:
        raise LookupError("the charged session has no payment, but payments are never deleted")
    return payment


def _moved(source: Account, target: Account, amount: int) -> list[Entry]:
    return [Entry(source, -amount), Entry(target, amount)]
