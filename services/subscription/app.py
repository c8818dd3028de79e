"""Definition of the subscription service, with background tasks for webhooks and deadlines."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from interceptors.metrics.registry import metrics_of
from mesh.periodic import repeating
from mesh.serving.service import Service
from mesh.telemetry.current import current_registry
from mesh.webhooks.secrets import processor_keys, standard_keys
from mesh.webhooks.signature import WebhookKeys
from services.subscription.commands import SubscriptionCommands, schedule_deadlines_of_older
from services.subscription.follow_ups import FollowUps
from services.subscription.http import http_app
from services.subscription.mails import Mailer
from services.subscription.metrics import WebhookMetrics
from services.subscription.processors.customers import Customers
from services.subscription.processors.test_mode import TestModeProcessor
from services.subscription.servicer import SubscriptionServicer
from services.subscription.store import SubscriptionStore
from services.subscription.webhook_handler import WebhookHandler
from services.subscription.webhook_inbox import WebhookInbox
from services.subscription.workflow import SubscriptionWorkflow
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from solo60.subscription.v1.subscription_pb2 import DESCRIPTOR
from solo60.subscription.v1.subscription_pb2_grpc import (
    SubscriptionServiceStub,
    add_SubscriptionServiceServicer_to_server,
)
from solo60.user.v1.user_pb2_grpc import UserServiceStub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mesh.serving.service import Runtime
    from services.subscription.processors.interface import CardProcessor

TIDY_INTERVAL_S = 3600.0
COUNT_INTERVAL_S = 30.0

_log = structlog.stdlib.get_logger("solo60.subscription")


@asynccontextmanager
async def open_subscription(runtime: Runtime) -> AsyncIterator[SubscriptionServicer]:
    """Yield the servicer while its background tasks run."""
    users, in_test_mode = runtime.channels.stub(UserServiceStub), runtime.settings.stripe_api_key is None
    follow_ups = FollowUps(
        runtime.channels.stub(PaymentServiceStub),
        runtime.channels.stub(SubscriptionServiceStub),
        in_test_mode=in_test_mode,
    )
    mailer = Mailer(users, runtime.channels.stub(CommunicationServiceStub))
    store, commands = SubscriptionStore(runtime.database), SubscriptionCommands(follow_ups, runtime.now)
    inbox, metrics = WebhookInbox(runtime.database), metrics_of(current_registry(), WebhookMetrics)
    webhook_handler = WebhookHandler(store, inbox, commands, _webhook_keys(runtime), metrics, runtime.now)
    async with (
        _card_processor(runtime, store, webhook_handler) as processor,
        repeating("tidying the webhook inbox", webhook_handler.tidy, TIDY_INTERVAL_S, runtime.clock.sleep),
        repeating("counting held webhooks", webhook_handler.show_held, COUNT_INTERVAL_S),
        repeating(
            "scheduling deadlines of older subscriptions",
            partial(schedule_deadlines_of_older, store, commands),
            TIDY_INTERVAL_S,
        ),
    ):
        workflow = SubscriptionWorkflow(store, commands, follow_ups, processor, webhook_handler, runtime.now)
        yield SubscriptionServicer(store, commands, webhook_handler, workflow, mailer, users, runtime.now)


@asynccontextmanager
async def _card_processor(
    runtime: Runtime, store: SubscriptionStore, webhook_handler: WebhookHandler
) -> AsyncIterator[CardProcessor]:
    """Yield Stripe if STRIPE_API_KEY is set, or test mode."""
    settings = runtime.settings
    if settings.stripe_api_key is None:
        _log.info("cards are in test mode")
        yield TestModeProcessor(runtime.database, store, webhook_handler, runtime.now)
        return
    # Loading the SDK takes 30 MB and 0.2 s.
    from mesh.card_processor import open_card_processor  # noqa: PLC0415
    from services.subscription.processors.stripe_processor import StripeProcessor  # noqa: PLC0415

    async with open_card_processor(settings, runtime.troubles) as client:
        _log.info("cards are charged", processor=settings.stripe_api_url)
        yield StripeProcessor(client, Customers(runtime.database), webhook_handler, runtime.now)


def _webhook_keys(runtime: Runtime) -> WebhookKeys:
    settings = runtime.settings
    return WebhookKeys(
        standard=standard_keys(settings.webhook_secrets),
        processor=processor_keys(settings.card_processor_webhook_secrets),
    )


SERVICE = Service(
    name="subscription",
    descriptor=DESCRIPTOR.services_by_name["SubscriptionService"],
    add_to_server=add_SubscriptionServiceServicer_to_server,
    open=open_subscription,
    migrations=Path(__file__).parent / "migrations",
    http=http_app,
)
