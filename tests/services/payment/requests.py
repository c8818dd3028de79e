"""Requests to payment, with what a test does not care about filled in."""

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
    """Return the id of a session or user that nothing is known of."""
    return str(uuid4())


def charge(method: PaymentMethod = BY_CARD, session_id: str = "", user_id: str = "") -> ChargeSessionRequest:
    """Ask for £12.50 or 3 credits."""
    return ChargeSessionRequest(
        session_id=session_id or some_id(),
        user_id=user_id or some_id(),
        price=Money(currency_code="GBP", minor_units=PENCE),
        credits=CREDITS,
        payment_method=method,
    )


def refund(request: ChargeSessionRequest, reason: str = "session cancelled") -> RefundSessionRequest:
    """Ask for what `request` took, the way it was paid."""
    return RefundSessionRequest(session_id=request.session_id, reason=reason)


def credit_back(request: ChargeSessionRequest, reason: str = "gym closed") -> CreditBackSessionRequest:
    """Ask for what `request` took, in credits."""
    return CreditBackSessionRequest(session_id=request.session_id, reason=reason)


async def grant(payments: PaymentServiceAsyncStub, user_id: str, credits_granted: int) -> int:
    """Give a user credits; return the user's credits then."""
    request = GrantCreditsRequest(user_id=user_id, credits=credits_granted, reason="goodwill")
    return (await payments.GrantCredits(request)).credits


async def balance(payments: PaymentServiceAsyncStub, user_id: str) -> int:
    """Return a user's credits."""
    return (await payments.GetBalance(GetBalanceRequest(user_id=user_id))).credits
