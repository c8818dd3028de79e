"""Conversion between protobuf messages and the domain of the payment service.

`parse_` functions return domain values, `render_` functions return messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from services.payment.domain import ChargeOrder, PaymentMethod, PaymentStatus, Price
from solo60.common.v1.money_pb2 import Money
from solo60.payment.v1 import payment_pb2

if TYPE_CHECKING:
    from services.payment.domain import Payment
    from solo60.payment.v1.payment_pb2 import ChargeSessionRequest

_STATUSES: dict[PaymentStatus, payment_pb2.PaymentStatus.ValueType] = {
    PaymentStatus.PENDING: payment_pb2.PAYMENT_STATUS_PENDING,
    PaymentStatus.CAPTURED: payment_pb2.PAYMENT_STATUS_CAPTURED,
    PaymentStatus.DECLINED: payment_pb2.PAYMENT_STATUS_DECLINED,
    PaymentStatus.REFUNDED: payment_pb2.PAYMENT_STATUS_REFUNDED,
    PaymentStatus.VOIDED: payment_pb2.PAYMENT_STATUS_VOIDED,
}


def parse_order(request: ChargeSessionRequest) -> ChargeOrder:
    """Return the order in a valid request. The order excludes the card token."""
    return ChargeOrder(
        session_id=UUID(request.session_id),
        user_id=UUID(request.user_id),
        price=Price(request.price.currency_code, request.price.minor_units, request.credits),
        payment_method=PaymentMethod.CARD if request.payment_method.HasField("card") else PaymentMethod.CREDITS,
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
    _set_amount(message, order.price, order.payment_method)
    message.create_time.FromDatetime(payment.create_time)
    message.update_time.FromDatetime(payment.update_time)
    if payment.refund is not None:
        _set_amount(message.refund, order.price, payment.refund.payment_method)
        message.refund.reason = payment.refund.reason
        message.refund.create_time.FromDatetime(payment.refund.create_time)
    return message


def _set_amount(message: payment_pb2.Payment | payment_pb2.Refund, price: Price, payment_method: PaymentMethod) -> None:
    if payment_method is PaymentMethod.CREDITS:
        message.credits = price.credits
    else:
        message.money.CopyFrom(Money(currency_code=price.currency, minor_units=price.minor_units))
