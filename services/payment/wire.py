"""Conversion between protobuf messages and the domain of the payment service.

`parse_` functions return domain values, `render_` functions return messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from services.payment.disputes.domain import DisputeStatus
from services.payment.domain import CREDIT, ChargeOrder, PaymentMethod, PaymentStatus, Price, RefundStatus
from services.payment.refunds.domain import PartialRefund
from solo60.common.v1.money_pb2 import Money
from solo60.payment.v1 import payment_pb2

if TYPE_CHECKING:
    from services.payment.disputes.domain import Dispute
    from services.payment.domain import Payment, Refund
    from services.payment.failed_refunds.domain import FailedRefund
    from solo60.payment.v1.payment_pb2 import ChargeSessionRequest, RefundSessionRequest

_STATUSES: dict[PaymentStatus, payment_pb2.PaymentStatus.ValueType] = {
    PaymentStatus.PENDING: payment_pb2.PAYMENT_STATUS_PENDING,
    PaymentStatus.CAPTURED: payment_pb2.PAYMENT_STATUS_CAPTURED,
    PaymentStatus.DECLINED: payment_pb2.PAYMENT_STATUS_DECLINED,
    PaymentStatus.REFUNDED: payment_pb2.PAYMENT_STATUS_REFUNDED,
    PaymentStatus.VOIDED: payment_pb2.PAYMENT_STATUS_VOIDED,
}
# NEW is not visible outside of its transaction.
_DISPUTE_STATUSES: dict[DisputeStatus, payment_pb2.DisputeStatus.ValueType] = {
    DisputeStatus.INQUIRY: payment_pb2.DISPUTE_STATUS_INQUIRY,
    DisputeStatus.OPEN: payment_pb2.DISPUTE_STATUS_OPEN,
    DisputeStatus.WON: payment_pb2.DISPUTE_STATUS_WON,
    DisputeStatus.LOST: payment_pb2.DISPUTE_STATUS_LOST,
}


def parse_order(request: ChargeSessionRequest) -> ChargeOrder:
    """Return the order in a valid request. The order excludes the card token."""
    return ChargeOrder(
        session_id=UUID(request.session_id),
        user_id=UUID(request.user_id),
        price=Price(request.price.currency_code, request.price.minor_units, request.credits),
        payment_method=PaymentMethod.CARD if request.payment_method.HasField("card") else PaymentMethod.CREDITS,
    )


def parse_partial_refund(request: RefundSessionRequest) -> PartialRefund:
    """Return the partial refund in a valid request with a refund id."""
    is_money = request.HasField("money")
    return PartialRefund(
        session_id=UUID(request.session_id),
        refund_id=UUID(request.refund_id),
        payment_method=PaymentMethod.CARD if is_money else PaymentMethod.CREDITS,
        currency=request.money.currency_code if is_money else CREDIT,
        amount=request.money.minor_units if is_money else request.credits,
        reason=request.reason,
    )


def render_payment(payment: Payment) -> payment_pb2.Payment:
    """Return the protobuf message of a payment."""
    order = payment.order
    message = payment_pb2.Payment(
        payment_id=str(payment.payment_id),
        session_id=str(order.session_id),
        user_id=str(order.user_id),
        status=_STATUSES[payment.status],
    )
    _set_amount(message, order.payment_method, order.price.currency, order.amount)
    message.create_time.FromDatetime(payment.create_time)
    message.update_time.FromDatetime(payment.update_time)
    done = [refund for refund in payment.refunds if refund.status is RefundStatus.DONE]
    message.refunds.extend(_refund(refund, order.price.currency) for refund in done)
    if payment.status is PaymentStatus.REFUNDED:
        message.refund.CopyFrom(message.refunds[-1])
    message.disputes.extend(map(_dispute, payment.disputes))
    message.failed_refunds.extend(map(_failed_refund, payment.failed_refunds))
    return message


def render_refund(payment: Payment | None) -> payment_pb2.RefundSessionResponse:
    """Return the response to the refund of a whole session, by its payment afterwards."""
    if payment is None:
        return payment_pb2.RefundSessionResponse(outcome=payment_pb2.REFUND_OUTCOME_VOIDED)
    outcome = payment_pb2.REFUND_OUTCOME_VOIDED
    if payment.status is PaymentStatus.REFUNDED:
        outcome = payment_pb2.REFUND_OUTCOME_REFUNDED
    elif payment.is_disputed:
        outcome = payment_pb2.REFUND_OUTCOME_DISPUTED
    return payment_pb2.RefundSessionResponse(outcome=outcome, payment=render_payment(payment))


def _refund(refund: Refund, currency: str) -> payment_pb2.Refund:
    message = payment_pb2.Refund(reason=refund.reason)
    _set_amount(message, refund.payment_method, currency, refund.amount)
    message.create_time.FromDatetime(refund.create_time)
    return message


def _dispute(dispute: Dispute) -> payment_pb2.Dispute:
    message = payment_pb2.Dispute(
        dispute_id=dispute.dispute_id,
        status=_DISPUTE_STATUSES[dispute.status],
        money=Money(currency_code=dispute.currency, minor_units=dispute.minor_units),
        reason=dispute.reason,
    )
    message.create_time.FromDatetime(dispute.create_time)
    message.update_time.FromDatetime(dispute.update_time)
    return message


def _failed_refund(failed: FailedRefund) -> payment_pb2.FailedRefund:
    message = payment_pb2.FailedRefund(
        processor_refund_id=failed.processor_refund_id,
        money=Money(currency_code=failed.currency, minor_units=failed.minor_units),
        reason=failed.reason,
    )
    message.create_time.FromDatetime(failed.create_time)
    return message


def _set_amount(
    message: payment_pb2.Payment | payment_pb2.Refund, payment_method: PaymentMethod, currency: str, amount: int
) -> None:
    if payment_method is PaymentMethod.CREDITS:
        message.credits = amount
    else:
        message.money.CopyFrom(Money(currency_code=currency, minor_units=amount))
