"""Definition of the payment service. Without STRIPE_API_KEY, cards are in test mode."""

from __future__ import annotations

from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from mesh.serving.service import Runtime, Service
from mesh.webhooks.secrets import processor_keys
from services.payment.cards import TestModeProcessor
from services.payment.cashier import Cashier
from services.payment.credits.accounts import CreditAccounts
from services.payment.credits.store import CreditStore
from services.payment.disputes.handler import DisputeHandler
from services.payment.failed_refunds.handler import FailedRefundHandler
from services.payment.http import http_app
from services.payment.servicer import PaymentServicer
from services.payment.store import PaymentStore
from services.payment.webhooks import WebhookHandler
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub
from solo60.payment.v1 import payment_pb2
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub, add_PaymentServiceServicer_to_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from mesh.data.database import Database
    from services.payment.cards import CardProcessor


_log = structlog.stdlib.get_logger("solo60.payment")


@asynccontextmanager
async def open_processor(runtime: Runtime) -> AsyncIterator[CardProcessor]:
    """Yield the card processor of the settings: Stripe with STRIPE_API_KEY, or else the processor of test mode."""
    if runtime.settings.stripe_api_key is None:
        _log.info("cards are in test mode")
        yield TestModeProcessor(runtime.database)
        return
    # Test mode does not need the SDK of Stripe, which takes 0.2 s and 30 MB.
    from mesh.card_processor import open_card_processor  # noqa: PLC0415
    from services.payment.cards.intents import IntentStore  # noqa: PLC0415
    from services.payment.cards.stripe_processor import StripeProcessor  # noqa: PLC0415

    async with open_card_processor(runtime.settings, runtime.troubles) as client:
        _log.info("cards are charged", processor=runtime.settings.stripe_api_url)
        yield StripeProcessor(client, IntentStore(runtime.database), runtime.now)


def payment_service(processor: Callable[[Database], CardProcessor] | None = None) -> Service:
    """Return the payment service with a card processor, by default the one of the settings."""

    @asynccontextmanager
    async def open_payment(runtime: Runtime) -> AsyncIterator[PaymentServicer]:
        store = PaymentStore(runtime.database)
        payments = runtime.channels.stub(PaymentServiceStub)
        accounts, keys = CreditAccounts(payments), processor_keys(runtime.settings.card_processor_webhook_secrets)
        communication = runtime.channels.stub(CommunicationServiceStub)
        disputes = DisputeHandler(store, payments, communication, runtime.now)
        failed_refunds = FailedRefundHandler(store, communication, runtime.now)
        webhooks = WebhookHandler(keys, disputes, failed_refunds, runtime.now)
        async with nullcontext(processor(runtime.database)) if processor else open_processor(runtime) as cards:
            cashier = Cashier(store, cards, accounts, runtime.now)
            yield PaymentServicer(store, cashier, CreditStore(runtime.database), accounts, webhooks, runtime.now)

    return Service(
        name="payment",
        descriptor=payment_pb2.DESCRIPTOR.services_by_name["PaymentService"],
        add_to_server=add_PaymentServiceServicer_to_server,
        open=open_payment,
        migrations=Path(__file__).parent / "migrations",
        http=http_app,
    )


SERVICE = payment_service()
