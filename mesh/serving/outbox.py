"""Relay on a service's own outbox, woken by each transaction that writes to it."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from contracts.services import SERVICES, short_service_name
from interceptors.metrics.registry import metrics_of
from mesh.data.notifications import listening
from mesh.outbox.administration import OutboxAdministration
from mesh.outbox.metrics import OutboxMetrics
from mesh.outbox.relay import Relay
from mesh.outbox.schedule import Schedule
from mesh.outbox.servicer import OutboxServicer
from mesh.outbox.store import OutboxStore
from mesh.outbox.transport import BrokeredTransport, DirectTransport
from mesh.telemetry.current import current_registry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mesh.outbox.transport import Transport
    from mesh.serving.service import Runtime

# The channel of the table's trigger (mesh/migrations/000002_outbox.sql).
CHANNEL = "outbox"


@asynccontextmanager
async def serve_outbox(name: str, runtime: Runtime) -> AsyncIterator[OutboxServicer]:
    """Relay the outbox of the service `name`, and yield its servicer.

    With NATS_URL, also consume messages from other services until the relay stops. Raises SettingsError if the broker
    rejects this service.
    """
    store = OutboxStore(runtime.database)
    url = runtime.settings.nats_url
    async with AsyncExitStack() as stack:
        transport: Transport = DirectTransport(lambda service: runtime.channels.channel(short_service_name(service)))
        intake = None
        if url is not None:
            # Imported only with NATS_URL, because the NATS client costs memory.
            from mesh.outbox.broker import Broker  # noqa: PLC0415
            from mesh.outbox.intake import Intake  # noqa: PLC0415

            broker = Broker(url.get_secret_value(), name, runtime.clock.time_s)
            await stack.enter_async_context(broker.running())
            intake = Intake(broker, SERVICES[name].full_name, store, runtime.clock.time_s)
            if runtime.settings.outbox_transport == "nats":
                transport = BrokeredTransport(broker, name, transport)
        relay = await stack.enter_async_context(run_relay(store, runtime.database_url, transport))
        if intake is not None:
            await stack.enter_async_context(intake.running())
        schedule = Schedule(runtime.database, runtime.timers)
        yield OutboxServicer(OutboxAdministration(runtime.database), relay, schedule)


@asynccontextmanager
async def run_relay(store: OutboxStore, database_url: str, transport: Transport) -> AsyncIterator[Relay]:
    """Deliver the messages of `store`, the outbox of the database at `database_url`, while the context is open."""
    relay = Relay(store, transport, metrics_of(current_registry(), OutboxMetrics), random.SystemRandom())
    async with (
        relay.running(),
        listening(database_url, CHANNEL, lambda _payload: relay.wake(), relay.wake),
    ):
        yield relay
