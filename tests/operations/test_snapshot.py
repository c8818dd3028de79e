from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from console.state import TRAFFIC_INTERVAL_S
from mesh.config import Settings
from operations.metrics.reader import INTERVAL_S, TrafficReader
from operations.snapshot import Snapshot
from tests.operations.metrics.pages import ServicePage
from tests.support.http_answers import HttpAnswers

if TYPE_CHECKING:
    from operations.metrics.traffic import Traffic


async def test_fifty_viewers_cost_a_service_as_much_as_one() -> None:
    """The page of a service is read once per interval for any number of viewers."""
    interval_s = 0.3
    counts = []
    async with HttpAnswers(ServicePage().text()) as server:
        settings = Settings(_env_file=None, metrics_urls=f"gym=127.0.0.1:{server.port}")  # type: ignore[call-arg]  # pydantic-settings' own argument
        for viewers in (1, 50):
            traffic = Snapshot(TrafficReader(settings).read, interval_s)
            began = len(server.requests)

            async def look(traffic: Snapshot[Traffic] = traffic) -> None:
                loop = asyncio.get_running_loop()
                end_s = loop.time() + 5 * interval_s
                while loop.time() < end_s:
                    await traffic.get()
                    await asyncio.sleep(interval_s / 10)

            await asyncio.gather(*(look() for _ in range(viewers)))
            counts.append(len(server.requests) - began)
            await traffic.close()

    # Five intervals have at most six beginnings; a busy machine reads less often.
    assert all(1 <= count <= 6 for count in counts), counts
    assert TRAFFIC_INTERVAL_S < INTERVAL_S
