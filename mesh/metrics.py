"""Metrics exposition: what Prometheus finds at METRICS_ADDRESS, and how late the event loop runs."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY, Gauge, start_wsgi_server

from interceptors.metrics_registry import metrics_of
from mesh.config import SettingsError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from prometheus_client import CollectorRegistry

LAG_PERIOD_S = 1.0
# Together as long as what usually lies between two scrapes, so that none misses a stall.
LAG_PERIODS = 15


@asynccontextmanager
async def metrics_served(address: str | None, registry: CollectorRegistry = REGISTRY) -> AsyncIterator[None]:
    """Serve /metrics at `address` ("host:port") over HTTP for the time of the context; without an address, do nothing.

    Whoever asks for OpenMetrics gets exemplars too. A thread of its own answers, so that a stalled event loop can be
    seen. Raises SettingsError where the address cannot be listened at.
    """
    if address is None:
        yield
        return
    host, _, port = address.rpartition(":")
    try:
        server, _ = await asyncio.to_thread(start_wsgi_server, int(port), host.strip("[]"), registry)
    except OSError:
        raise SettingsError(f"METRICS_ADDRESS: {address} is in use or is not an address of this machine.") from None
    watching = asyncio.create_task(_watch_loop(metrics_of(registry, _lag_gauge)))
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.to_thread(server.shutdown)
        server.server_close()


def _lag_gauge(registry: CollectorRegistry) -> Gauge:
    help_text = f"The longest that the event loop was late in the last {LAG_PERIODS * LAG_PERIOD_S:.0f} seconds."
    return Gauge("solo60_event_loop_lag_seconds", help_text, registry=registry)


async def _watch_loop(gauge: Gauge) -> None:
    lags_s: deque[float] = deque(maxlen=LAG_PERIODS)
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LAG_PERIOD_S
        await asyncio.sleep(LAG_PERIOD_S)
        lags_s.append(max(0.0, loop.time() - due))
        gauge.set(max(lags_s))
