"""Simulation of a server under overload, with the real shedder and a simulated clock."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from contracts.errors import Overloaded
from interceptors.shedding.interceptor import ServerShedding
from tests.interceptors.shedding.test_shedding import DEADLINE_S, call_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interceptors.chain.call import Call


COST_S, REJECTION_COST_S = 0.004, 0.0004
CAPACITY = 1 / COST_S


@dataclass
class Simulation:
    """Simulated server with one queue, served in order, a clock and the real shedder."""

    queue_delay_s: float = 0.02
    now_s: float = 100.0
    latencies_s: dict[str, list[float]] = field(default_factory=dict)
    offered: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.shedding = ServerShedding((), self.queue_delay_s, now=lambda: self.now_s, rng=random.Random(1))  # noqa: S311 - a simulation
        self.shedding._loop.is_sampling = self.shedding._loop.is_busy = True

    async def send_load(self, rate: float, seconds: float, names: Sequence[str] = ("Echo",)) -> None:
        """Send calls at random times, regardless of their results."""
        rng, arrives_s, ends_s = random.Random(2), self.now_s, self.now_s + seconds  # noqa: S311 - a simulation
        self.latencies_s, self.offered = {name: [] for name in names}, dict.fromkeys(names, 0)
        while (arrives_s := arrives_s + rng.expovariate(rate)) < ends_s:
            name = rng.choice(names)
            self.offered[name] += 1
            self.now_s = max(self.now_s, arrives_s)
            await self._serve(name, arrives_s)

    async def _serve(self, name: str, arrives_s: float) -> None:
        call = call_of(name, self.now_s - arrives_s)
        self.shedding.applies_to(call.method)
        try:
            await self.shedding.intercept(call, self._handle)
        except Overloaded:
            self.now_s += REJECTION_COST_S
        else:
            self.latencies_s[name].append(self.now_s - arrives_s)

    async def _handle(self, _call: Call) -> bytes | None:
        self.now_s += COST_S
        return b""

    def in_time(self, name: str = "Echo") -> int:
        return sum(latency_s <= DEADLINE_S for latency_s in self.latencies_s[name])

    def p99_s(self, name: str = "Echo") -> float:
        ordered = sorted(self.latencies_s[name])
        return ordered[int(len(ordered) * 0.99)]


@pytest.mark.requirement("S3")
@pytest.mark.parametrize(("load", "share"), [(2.0, 0.85), (4.0, 0.60)])
async def test_goodput_is_high_under_overload(load: float, share: float) -> None:
    """At two and four times the capacity, 85 % and 60 % of it are served in time. The p99 latency at most triples."""
    simulation = Simulation()
    await simulation.send_load(CAPACITY / 2, 10)
    unloaded_s = simulation.p99_s()

    await simulation.send_load(load * CAPACITY, 20)

    assert simulation.in_time() >= share * CAPACITY * 20
    assert simulation.p99_s() <= 3 * unloaded_s


async def test_without_shedding_goodput_collapses() -> None:
    """Without shedding, at most 10 % of the capacity is served in time.

    The collapse proves that the simulation shows the effect of shedding.
    """
    simulation = Simulation(queue_delay_s=60.0)

    await simulation.send_load(2 * CAPACITY, 20)

    assert simulation.in_time() <= 0.1 * CAPACITY * 20


async def test_latency_recovers_soon_after_a_spike() -> None:
    """Half a second after a spike of four times the capacity, no call is shed and the p99 latency is at most 30 ms."""
    simulation = Simulation()
    await simulation.send_load(4 * CAPACITY, 30)
    await simulation.send_load(CAPACITY / 2, 0.5)

    await simulation.send_load(CAPACITY / 2, 10)

    assert len(simulation.latencies_s["Echo"]) == simulation.offered["Echo"]
    assert simulation.p99_s() <= 0.030


@pytest.mark.requirement("S3")
async def test_critical_calls_are_shed_last() -> None:
    """At twice the capacity, at least 99 % of critical and at most 5 % of sheddable calls are answered in time."""
    simulation = Simulation()
    names = ("EchoSheddable", "Echo", "EchoCritical")

    await simulation.send_load(2 * CAPACITY, 20, names)

    answered = {name: simulation.in_time(name) / simulation.offered[name] for name in names}
    assert answered["EchoCritical"] >= 0.99
    assert answered["EchoSheddable"] <= 0.05
    assert answered["EchoSheddable"] < answered["Echo"] < answered["EchoCritical"]


async def test_a_server_below_capacity_sheds_almost_nothing() -> None:
    """At 80 % of the capacity, at least 99 % of the calls are answered."""
    simulation = Simulation()

    await simulation.send_load(0.8 * CAPACITY, 20)

    assert len(simulation.latencies_s["Echo"]) >= 0.99 * simulation.offered["Echo"]


async def test_calls_delayed_elsewhere_are_served() -> None:
    """Late calls are served while the event loop is not busy, because they waited for a connection or in the caller."""
    simulation = Simulation()
    simulation.shedding._loop.is_busy = False

    for _ in range(1_000):
        simulation.now_s += 0.01
        await simulation.shedding.intercept(call_of("Echo", 0.1), simulation._handle)
