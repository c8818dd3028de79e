"""Payment service: one charge in credits per session."""

# No `from __future__ import annotations`: FastAPI evaluates annotations at run time.

import uuid
from typing import TYPE_CHECKING, cast

from fastapi import FastAPI
from pydantic import BaseModel, Field

from bench.booking.plain.application import application, now
from services.payment.cards import TestModeProcessor
from services.payment.cashier import Cashier
from services.payment.credits.accounts import CreditAccounts
from services.payment.domain import ChargeOrder, PaymentMethod, Price
from services.payment.store import PaymentStore

if TYPE_CHECKING:
    from solo60.payment.v1.payment_pb2_grpc import PaymentServiceAsyncStub

# The benchmark's credits never expire, so no expiry is scheduled by a call of this stub.
ACCOUNTS = CreditAccounts(cast("PaymentServiceAsyncStub", None))


class Charge(BaseModel):
    """Request of POST /charges."""

    session_id: uuid.UUID
    user_id: uuid.UUID
    currency: str
    minor_units: int = Field(gt=0)
    credits: int = Field(gt=0)


class Charged(BaseModel):
    """Response of POST /charges."""

    payment_id: uuid.UUID


def make() -> FastAPI:
    """Return the payment service."""
    app, state = application()

    async def charge(request: Charge) -> Charged:
        cashier = Cashier(PaymentStore(state.database), TestModeProcessor(state.database), ACCOUNTS, now)
        price = Price(request.currency, request.minor_units, request.credits)
        order = ChargeOrder(request.session_id, request.user_id, price, PaymentMethod.CREDITS)
        return Charged(payment_id=(await cashier.charge(order, "")).payment_id)

    app.post("/charges")(charge)
    return app
