from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from console.pages.map.looks import looks_of, tone_of
from console.pages.map.plan import plan_of
from console.pages.map.svg import map_svg
from console.state import TRAFFIC_INTERVAL_S
from mesh.config import Settings
from operations.contracts.connections import graph_of_services
from operations.metrics.reader import INTERVAL_S, TrafficReader
from operations.metrics.tally import Rates
from operations.metrics.traffic import Traffic, TrafficEdge, traffic_of
from operations.snapshot import Snapshot
from tests.operations.metrics.pages import CHARGE, GET_GYM, ServicePage
from tests.support.http_answers import HttpAnswers

if TYPE_CHECKING:
    from console.pages.map.plan import Plan

IDLE = TrafficEdge("session", GET_GYM, ("calls",), Rates(), 0, "closed", "caller", "")
BUSY = replace(IDLE, rates=Rates(30, 1.0, 0.1, 0.0, 5.0, 10.0, {"NotFound": 3}))


def _svg_of(plan: Plan, *edges: TrafficEdge) -> str:
    empty = traffic_of(graph_of_services(), {})
    found = Traffic(30.0, edges, empty.services)
    return map_svg(plan, looks_of(plan, found, {"gym": "UNREACHABLE"}), "")


@pytest.mark.parametrize(
    ("edge", "tone"),
    [
        (IDLE, "idle"),
        (BUSY, "busy"),
        (replace(BUSY, rates=replace(BUSY.rates, failure_share=0.01)), "warn"),
        (replace(BUSY, rates=replace(BUSY.rates, failure_share=0.05)), "bad"),
        (replace(IDLE, breaker="half-open"), "warn"),
        (replace(IDLE, breaker="open"), "bad"),
        (replace(IDLE, measured_by=""), "unknown"),
        (replace(IDLE, problem="gym refuses connections."), "unknown"),
        (replace(BUSY, problem="gym refuses connections."), "busy"),
    ],
)
def test_the_tone_of_an_edge_is_its_worst_fault(edge: TrafficEdge, tone: str) -> None:
    """Failed calls and an open breaker colour an edge; errors such as NOT_FOUND do not."""
    assert tone_of(edge) == tone


def test_an_undeclared_call_is_drawn() -> None:
    """A call that no contract declares has a line of its own, and its numbers."""
    undeclared = replace(BUSY, caller="gym", method=CHARGE, kinds=("undeclared",))
    drawn = ET.fromstring(_svg_of(plan_of((("gym", CHARGE),)), undeclared, BUSY))  # noqa: S314 - our own picture

    (group,) = [
        each for each in drawn.iter("g") if "undeclared" in each.get("class", "") and each.find("a") is not None
    ]
    link = group.find("a")
    assert link is not None
    assert link.get("href") == "/map?edge=gym:payment.ChargeSession"
    assert link.get("aria-label") == "gym to payment.ChargeSession"
    assert "undeclared" not in _svg_of(plan_of(()), BUSY)


def test_no_two_lines_share_the_place_of_their_numbers() -> None:
    """Each line between two services ends at a place of its own, where its numbers are."""
    plan = plan_of(())
    ends = [plan.layout.target(line.line) for line in plan.lines]

    assert len(set(ends)) == len(ends)


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
