from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from console.pages.map.looks import looks_of, tone_of
from console.pages.map.plan import plan_of
from console.pages.map.svg import map_svg
from operations.contracts.connections import graph_of_services
from operations.metrics.tally import Rates
from operations.metrics.traffic import Traffic, TrafficEdge, traffic_of
from tests.operations.metrics.pages import CHARGE, GET_GYM

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
