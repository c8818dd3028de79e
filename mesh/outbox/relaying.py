"""Relaying: a relay on a service's own outbox, woken by every transaction that writes to it."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY

from contracts.scopes import calls_left_to_outboxes
from contracts.services import SERVICES, short_name
from interceptors.metrics_registry import metrics_of
from mesh.config import SettingsError
from mesh.notifications import listening
from mesh.outbox.inspection import Inspection
from mesh.outbox.metrics import OutboxMetrics
from mesh.outbox.relay import Relay
from mesh.outbox.servicer import OutboxServicer
from mesh.outbox.store import OutboxStore
from mesh.outbox.transport import BrokeredTransport, DirectTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mesh.outbox.transport import Transport
    from mesh.service import Runtime

# As the trigger in the database has it.
CHANNEL = "outbox"


@asynccontextmanager
async def outbox_served(name: str, runtime: Runtime) -> AsyncIterator[OutboxServicer | None]:
    """Relay the outbox of the service called `name`, and yield what shows it; None where it has none.

    With a broker, take in what others left there, until the relay stops. Raises SettingsError where the broker refuses
    us, or where this service has no outbox to take in what others leave to it.
    """
    store = OutboxStore(runtime.database)
    url = runtime.settings.nats_url
    if not await store.exists():
        if url is not None and any(short_name(call) == name for call in calls_left_to_outboxes()):
            raise SettingsError(f"NATS_URL: {name} has no outbox to take in what others leave to it.")
        yield None
        return
    async with AsyncExitStack() as stack:
        transport: Transport = DirectTransport(lambda service: runtime.channels.channel(short_name(service)))
        intake = None
        if url is not None:
            # Their client costs memory, and few need it.
            from mesh.outbox.broker import Broker  # noqa: PLC0415
            from mesh.outbox.intake import Intake  # noqa: PLC0415

            broker = Broker(url.get_secret_value(), name)
            await stack.enter_async_context(broker.running())
            intake = Intake(broker, SERVICES[name].full_name, store)
            if runtime.settings.outbox_transport == "nats":
                transport = BrokeredTransport(broker, name, transport)
        relay = await stack.enter_async_context(relaying(store, runtime.database_url, transport))
        if intake is not None:
            await stack.enter_async_context(intake.running())
        yield OutboxServicer(Inspection(runtime.database), relay)


@asynccontextmanager
async def relaying(store: OutboxStore, database_url: str, transport: Transport) -> AsyncIterator[Relay]:
    """Deliver what lies in `store`, the outbox of the database at that URL, for the time of the context."""
    relay = Relay(store, transport, metrics_of(REGISTRY, OutboxMetrics), random.SystemRandom())
    async with (
        relay.running(),
        listening(database_url, CHANNEL, lambda _payload: relay.wake(), relay.wake),
    ):
        yield relay
