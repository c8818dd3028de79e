"""Plan of faults to inject, drawn from a seed so that a failing run can be repeated.

A fault is injected after a number of journeys has started, not after a time, so that it meets the same journeys on any
machine.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from tests.chaos.breakable_mesh import RELAY, RELAYED

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from tests.chaos.breakable_mesh import BreakableMesh


class FaultKind(StrEnum):
    """Kinds of faults."""

    KILL = "kill"
    FREEZE = "freeze"
    CUT_DATABASE = "cut database"
    SLOW = "slow"
    LOSE_ANSWERS = "lose answers"


# Targets of faults with their weights; those of SERVICES are percentages.
SERVICES = {"session": 24, "payment": 20, "communication": 20, "user": 12, "gym": 8, "auth": 8, "subscription": 8}
RELAYS = {f"{RELAY}{name}": 1 for name in RELAYED}
DATABASES = {"session": 3, "payment": 3, "communication": 2, "user": 1, "gym": 1, "auth": 1, "subscription": 1}
CALLEES = {"payment": 4, "session": 2, "communication": 2, "user": 1, "gym": 1, "auth": 1, "subscription": 1}
# A little above the deadline of calls to the service.
LATENCY_S = {
    "payment": 5.5,
    "session": 10.5,
    "communication": 2.5,
    "user": 1.5,
    "gym": 1.5,
    "auth": 5.5,
    "subscription": 5.5,
}
SHORT_KILLS = ("session", "payment", "communication", "auth", "subscription")
LEASEHOLDERS = {"session": 1, "communication": 1}
# Each of these numbers of journeys meets a full set of faults.
JOURNEYS_PER_SET = 500
# Longer than any lease, so that another process has taken over the frozen process's work when it resumes.
BEYOND_LEASE_S = 33.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, injected after `after` journeys have started, that lasts `duration_s` seconds."""

    after: int
    kind: FaultKind
    target: str
    duration_s: float = 0.0

    def __str__(self) -> str:
        lasts = f" for {self.duration_s:.1f} s" if self.duration_s else ""
        return f"after {self.after} journeys: {self.kind} {self.target}{lasts}"


def draw_long_plan(rng: random.Random, journeys: int) -> list[Fault]:
    """Draw faults that kill every service at least twice and twice freeze a process beyond its lease.

    Long runs meet more faults, in proportion to their journeys.
    """
    faults = [fault for _ in range(max(1, journeys // JOURNEYS_PER_SET)) for fault in _draw_set(rng)]
    faults += [(FaultKind.FREEZE, _one_of(rng, each), BEYOND_LEASE_S) for each in (RELAYS, LEASEHOLDERS)]
    return _spread(rng, faults, journeys)


def _draw_set(rng: random.Random) -> list[tuple[FaultKind, str, float]]:
    faults = [(FaultKind.KILL, name, 0.0) for name in SERVICES for _ in range(2)]
    faults += [(FaultKind.KILL, _one_of(rng, SERVICES), 0.0) for _ in range(16)]
    faults += [(FaultKind.KILL, _one_of(rng, RELAYS), 0.0) for _ in range(6)]
    faults += [(FaultKind.CUT_DATABASE, _one_of(rng, DATABASES), 0.0) for _ in range(14)]
    faults += [(FaultKind.FREEZE, _one_of(rng, CALLEES), rng.uniform(1, 6)) for _ in range(4)]
    for kind in (FaultKind.SLOW, FaultKind.LOSE_ANSWERS):
        faults += [(kind, _one_of(rng, CALLEES), rng.uniform(0.5, 3)) for _ in range(4)]
    return faults


def draw_short_plan(rng: random.Random, journeys: int) -> list[Fault]:
    """Draw at least one fault of every kind, each lasting at most 2.5 seconds."""
    faults = [(FaultKind.KILL, name, 0.0) for name in (*SHORT_KILLS, _one_of(rng, RELAYS))]
    faults += [(FaultKind.CUT_DATABASE, name, 0.0) for name in ("session", "payment", "communication")]
    faults += [(FaultKind.FREEZE, _one_of(rng, CALLEES), 1.5)]
    faults += [(FaultKind.SLOW, rng.choice(["user", "gym"]), 1.0)]
    faults += [(FaultKind.LOSE_ANSWERS, name, 0.5) for name in ("payment", "session")]
    return _spread(rng, faults, journeys)


def _one_of(rng: random.Random, weights: dict[str, int]) -> str:
    (target,) = rng.choices(list(weights), list(weights.values()))
    return target


def _spread(rng: random.Random, faults: list[tuple[FaultKind, str, float]], journeys: int) -> list[Fault]:
    """Assign the faults in random order to the first 90 % of the journeys, so that later journeys meet each fault."""
    rng.shuffle(faults)
    last = max(1, journeys * 9 // 10)
    drawn = [Fault(rng.randint(1, last), *fault) for fault in faults]
    return sorted(drawn, key=lambda fault: fault.after)


class FaultInjector:
    """Injector of a plan's faults into a mesh."""

    def __init__(self, mesh: BreakableMesh, faults: Sequence[Fault], rng: random.Random) -> None:
        self._mesh = mesh
        self._pending = list(faults)
        self._rng = rng
        self._running: list[asyncio.Task[None]] = []
        self._began_s = time.monotonic()
        self.log: list[str] = []

    def inject_due(self, begun: int) -> None:
        """Start all faults that are due after `begun` journeys."""
        while self._pending and self._pending[0].after <= begun:
            fault = self._pending.pop(0)
            self._mesh.injected[str(fault.kind)] += 1
            self._running.append(asyncio.create_task(self._inject(fault)))

    async def finish(self) -> None:
        """Start the remaining faults and wait until all have ended; raise if one could not be injected or repaired."""
        self.inject_due(max((fault.after for fault in self._pending), default=0))
        await asyncio.gather(*self._running)

    async def stop(self) -> None:
        """Cancel all running faults."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _inject(self, fault: Fault) -> None:
        began_s = time.monotonic() - self._began_s
        try:
            await self._break(fault)
        finally:
            self.log.append(f"{began_s:.1f} s to {time.monotonic() - self._began_s:.1f} s: {fault}")

    async def _break(self, fault: Fault) -> None:
        match fault.kind:
            case FaultKind.KILL:
                await self._mesh.kill(fault.target)
            case FaultKind.FREEZE:
                await self._mesh.freeze(fault.target, fault.duration_s)
            case FaultKind.CUT_DATABASE:
                await self._mesh.cut_database(fault.target, self._rng.uniform(0.3, 1), self._rng)
            case FaultKind.SLOW:
                latency_s = LATENCY_S[fault.target]
                await self._mesh.slow_down(fault.target, latency_s, latency_s + fault.duration_s)
            case FaultKind.LOSE_ANSWERS:
                await self._mesh.lose_answers(fault.target, fault.duration_s)
