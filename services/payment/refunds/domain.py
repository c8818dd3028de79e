"""Domain of partial refunds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from contracts.errors import PaymentDisputed, PaymentNotCaptured, PaymentNotFound, RefundAbovePayment, RefundIdReused
from services.payment.domain import CREDIT, PaymentMethod, PaymentStatus

if TYPE_CHECKING:
    from uuid import UUID

    from services.payment.domain import Payment, PaymentState, Refund


@dataclass(frozen=True, slots=True)
class PartialRefund:
    """Order to refund a part of a session's payment, identified by `refund_id`. `currency` is that of the amount."""

    session_id: UUID
    refund_id: UUID
    payment_method: PaymentMethod
    currency: str
    amount: int
    reason: str


def earlier_refund(session: PaymentState, order: PartialRefund) -> tuple[Payment, Refund | None]:
    """Return the payment to refund, and the refund of an earlier call with the same order, if there is one.

    Raises PaymentNotFound, or RefundIdReused if the earlier call had another amount or method.
    """
    payment = session.payment
    if payment is None:
        raise PaymentNotFound
    found = next((refund for refund in payment.refunds if refund.refund_id == order.refund_id), None)
    if found and (found.payment_method, found.amount) != (order.payment_method, order.amount):
        raise RefundIdReused
    return payment, found


def require_refundable(session: PaymentState, payment: Payment, order: PartialRefund) -> None:
    """Raise an error unless the part can be refunded.

    Raises PaymentNotCaptured, PaymentDisputed, or RefundAbovePayment.
    """
    if session.is_void or payment.status is not PaymentStatus.CAPTURED:
        raise PaymentNotCaptured
    if payment.is_disputed:
        raise PaymentDisputed
    currency = payment.order.price.currency if payment.order.payment_method is PaymentMethod.CARD else CREDIT
    if order.payment_method is not payment.order.payment_method or order.currency != currency:
        raise RefundAbovePayment
    if order.amount > payment.rest:
        raise RefundAbovePayment
