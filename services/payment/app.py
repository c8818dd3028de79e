"""Definition of the payment service, with the test-mode card processor."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mesh.serving.service import Runtime, Service
from services.payment.cards import TestModeProcessor
from services.payment.cashier import Cashier
from services.payment.credits.accounts import CreditAccounts
from services.payment.credits.store import CreditStore
from services.payment.servicer import PaymentServicer
from services.payment.store import PaymentStore
from solo60.payment.v1 import payment_pb2
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub, add_PaymentServiceServicer_to_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from mesh.data.database import Database
    from services.payment.cards import CardProcessor


def payment_service(processor: Callable[[Database], CardProcessor] = TestModeProcessor) -> Service:
    """Return the payment service with a card processor, by default the test-mode processor."""

    @asynccontextmanager
    async def open_payment(runtime: Runtime) -> AsyncIterator[PaymentServicer]:
        store = PaymentStore(runtime.database)
        accounts = CreditAccounts(runtime.channels.stub(PaymentServiceStub))
        cashier = Cashier(store, processor(runtime.database), accounts, runtime.now)
        yield PaymentServicer(store, cashier, CreditStore(runtime.database), accounts, runtime.now)

    return Service(
        name="payment",
        descriptor=payment_pb2.DESCRIPTOR.services_by_name["PaymentService"],
        add_to_server=add_PaymentServiceServicer_to_server,
        open=open_payment,
        migrations=Path(__file__).parent / "migrations",
    )


SERVICE = payment_service()
