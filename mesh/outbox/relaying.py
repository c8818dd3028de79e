"""Relaying: a relay on a service's own outbox, woken by every transaction that writes to it."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY

from contracts.services import short_name
from mesh.notifications import listening
from mesh.outbox.inspection import Inspection
from mesh.outbox.metrics import outbox_metrics
from mesh.outbox.relay import Relay
from mesh.outbox.servicer import OutboxServicer
from mesh.outbox.store import OutboxStore
from mesh.outbox.transport import DirectTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mesh.outbox.transport import Transport
    from mesh.service import Runtime

# As the trigger in the database has it.
CHANNEL = "outbox"


@asynccontextmanager
async def outbox_served(runtime: Runtime) -> AsyncIterator[OutboxServicer | None]:
    """Relay the outbox of a service and yield what shows it; None, and nothing is done, where it has none."""
    store = OutboxStore(runtime.database)
    if not await store.exists():
        yield None
        return
    transport = DirectTransport(lambda service: runtime.channels.channel(short_name(service)))
    async with relaying(store, runtime.database_url, transport) as relay:
        yield OutboxServicer(Inspection(runtime.database), relay)


@asynccontextmanager
async def relaying(store: OutboxStore, database_url: str, transport: Transport) -> AsyncIterator[Relay]:
    """Deliver what lies in `store`, the outbox of the database at that URL, for the time of the context."""
    relay = Relay(store, transport, outbox_metrics(REGISTRY), random.SystemRandom())
    async with (
        relay.running(),
        listening(database_url, CHANNEL, lambda _payload: relay.wake(), relay.wake),
    ):
        yield relay
