"""Reader of the traffic: reads the Prometheus pages of all services, and keeps a window for each."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from operations.contracts.connections import graph_of_services
from operations.metrics.addresses import metrics_urls
from operations.metrics.page import TIMEOUT_S, UnreadablePage, read_page
from operations.metrics.reading import NotMetrics, reading_of
from operations.metrics.traffic import Source, traffic_of
from operations.metrics.window import WINDOW_S, Window

if TYPE_CHECKING:
    from collections.abc import Callable

    from mesh.config import Settings
    from operations.metrics.traffic import Traffic

# Time between two readings. A window then has about 15 of them.
INTERVAL_S = 2.0


class TrafficReader:
    """Windows of all pages, which each `read` advances.

    `timeout_s` limits the reading of each page. `clock` is monotonic, in seconds.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        window_s: float = WINDOW_S,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._graph = graph_of_services(settings.deadline_factor)
        self._windows = {name: {url: Window(window_s) for url in urls} for name, urls in metrics_urls(settings).items()}
        self._timeout_s = timeout_s
        self._clock = clock

    async def read(self) -> Traffic:
        """Read all pages once, and return the traffic. A page that cannot be read is a problem of its service."""
        async with asyncio.TaskGroup() as group:
            reading = {name: group.create_task(self._read(name)) for name in self._windows}
        return traffic_of(self._graph, {name: task.result() for name, task in reading.items()})

    async def _read(self, name: str) -> Source:
        windows = self._windows[name]
        if not windows:
            return Source((), f"METRICS_URLS has no entry for {name}. Add {name}=http://HOST:PORT/metrics.")
        problems = await asyncio.gather(*(self._advance(url, window) for url, window in windows.items()))
        return Source(list(windows.values()), " ".join(filter(None, problems)))

    async def _advance(self, url: str, window: Window) -> str:
        """Add a reading to a window; return why that failed, or ""."""
        try:
            reading = reading_of(await read_page(url, self._timeout_s))
        except UnreadablePage as error:
            window.expire(self._clock())
            return str(error)
        except NotMetrics as error:
            window.expire(self._clock())
            return f"{url}: {error}"
        window.add(reading, self._clock())
        return ""
