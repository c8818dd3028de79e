"""Prometheus endpoint at METRICS_ADDRESS, and the metric of event loop lag."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY, Gauge, start_wsgi_server

from interceptors.metrics.registry import metrics_of
from mesh.config import SettingsError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from prometheus_client import CollectorRegistry

LAG_PERIOD_S = 1.0
# Fifteen periods together cover a usual scrape interval, so that every stall shows in a scrape.
LAG_PERIODS = 15


@asynccontextmanager
async def serve_metrics(
    address: str | None, registry: CollectorRegistry = REGISTRY, *, is_exported: bool = False
) -> AsyncIterator[None]:
    """Measure the event loop and serve /metrics over HTTP at `address` ("host:port") while the context is open.

    Without an address, nothing is served; the event loop is measured only if the metrics are exported.

    Scrapers that ask for OpenMetrics also get exemplars. The endpoint has its own thread, so that it still answers
    while the event loop is stalled. Raises SettingsError if the server cannot listen on the address.
    """
    if address is None and not is_exported:
        yield
        return
    async with _serving(address, registry):
        watching = asyncio.create_task(_watch_loop(metrics_of(registry, _lag_gauge)))
        try:
            yield
        finally:
            watching.cancel()


@asynccontextmanager
async def _serving(address: str | None, registry: CollectorRegistry) -> AsyncIterator[None]:
    if address is None:
        yield
        return
    host, _, port = address.rpartition(":")
    try:
        server, _ = await asyncio.to_thread(start_wsgi_server, int(port), host.strip("[]"), registry)
    except OSError:
        raise SettingsError(f"METRICS_ADDRESS: {address} is in use or is not an address of this machine.") from None
    try:
        yield
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()


def _lag_gauge(registry: CollectorRegistry) -> Gauge:
    help_text = f"Longest delay of the event loop in the last {LAG_PERIODS * LAG_PERIOD_S:.0f} seconds."
    return Gauge("solo60_event_loop_lag_seconds", help_text, registry=registry)


async def _watch_loop(gauge: Gauge) -> None:
    lags_s: deque[float] = deque(maxlen=LAG_PERIODS)
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LAG_PERIOD_S
        await asyncio.sleep(LAG_PERIOD_S)
        lags_s.append(max(0.0, loop.time() - due))
        gauge.set(max(lags_s))
