"""Requests to the payment service with default values."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from solo60.common.v1.money_pb2 import Money
from solo60.payment.v1.payment_pb2 import (
    CardMethod,
    ChargeSessionRequest,
    CreditBackSessionRequest,
    CreditsMethod,
    GetBalanceRequest,
    GrantCreditsRequest,
    PaymentMethod,
    RefundSessionRequest,
)

if TYPE_CHECKING:
    from solo60.payment.v1.payment_pb2_grpc import PaymentServiceAsyncStub

PENCE = 1250
CREDITS = 3
BY_CREDITS = PaymentMethod(credits=CreditsMethod())
BY_CARD = PaymentMethod(card=CardMethod(card_token="tok_visa"))  # noqa: S106 - a test card
BY_DECLINED_CARD = PaymentMethod(card=CardMethod(card_token="tok_declined"))  # noqa: S106 - a test card


def some_id() -> str:
    """Return a new id of a session or user."""
    return str(uuid4())


def charge(method: PaymentMethod = BY_CARD, session_id: str = "", user_id: str = "") -> ChargeSessionRequest:
    """Return a request to charge £12.50 or 3 credits."""
    return ChargeSessionRequest(
        session_id=session_id or some_id(),
        user_id=user_id or some_id(),
        price=Money(currency_code="GBP", minor_units=PENCE),
        credits=CREDITS,
        payment_method=method,
    )


def refund(request: ChargeSessionRequest, reason: str = "session cancelled") -> RefundSessionRequest:
    """Return a request to refund the charge of `request`."""
    return RefundSessionRequest(session_id=request.session_id, reason=reason)


def refund_part(request: ChargeSessionRequest, minor_units: int, refund_id: str = "") -> RefundSessionRequest:
    """Return a request to refund a part of a card payment."""
    return RefundSessionRequest(
        session_id=request.session_id,
        reason="broken shower",
        money=Money(currency_code="GBP", minor_units=minor_units),
        refund_id=refund_id or some_id(),
    )


def refund_credits(request: ChargeSessionRequest, credits_refunded: int, refund_id: str = "") -> RefundSessionRequest:
    """Return a request to refund a part of a payment in credits."""
    return RefundSessionRequest(
        session_id=request.session_id,
        reason="broken shower",
        credits=credits_refunded,
        refund_id=refund_id or some_id(),
    )


def credit_back(request: ChargeSessionRequest, reason: str = "gym closed") -> CreditBackSessionRequest:
    """Return a request to give back the charge of `request` in credits."""
    return CreditBackSessionRequest(session_id=request.session_id, reason=reason)


async def grant(payments: PaymentServiceAsyncStub, user_id: str, credits_granted: int) -> int:
    """Grant a user credits, and return the new balance."""
    request = GrantCreditsRequest(user_id=user_id, credits=credits_granted, reason="goodwill")
    return (await payments.GrantCredits(request)).credits


async def balance(payments: PaymentServiceAsyncStub, user_id: str) -> int:
    """Return a user's credits."""
    return (await payments.GetBalance(GetBalanceRequest(user_id=user_id))).credits
