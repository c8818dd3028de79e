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


class Kind(StrEnum):
    """Kinds of faults."""

    KILL = "kill"
    FREEZE = "freeze"
    CUT_DATABASE = "cut database"
    SLOW = "slow"
    LOSE_ANSWERS = "lose answers"


# Targets of faults with their weights; those of SERVICES are percentages.
SERVICES = {"session": 26, "payment": 22, "communication": 22, "user": 12, "gym": 10, "auth": 4, "subscription": 4}
RELAYS = {f"{RELAY}{name}": 1 for name in RELAYED}
DATABASES = {"session": 3, "payment": 3, "communication": 2, "user": 1, "gym": 1}
CALLEES = {"payment": 4, "session": 2, "communication": 2, "user": 1, "gym": 1}
# A little above the deadline of calls to the service.
LATENCY_S = {"payment": 5.5, "session": 10.5, "communication": 2.5, "user": 1.5, "gym": 1.5}
LEASEHOLDERS = {"session": 1, "communication": 1}
# Longer than any lease, so that another process has taken over the frozen process's work when it resumes.
BEYOND_LEASE_S = 33.0


@dataclass(frozen=True, slots=True)
class Blow:
    """One fault, injected after `after` journeys have started, that lasts `lasts_s` seconds."""

    after: int
    kind: Kind
    target: str
    lasts_s: float = 0.0

    def __str__(self) -> str:
        lasts = f" for {self.lasts_s:.1f} s" if self.lasts_s else ""
        return f"after {self.after} journeys: {self.kind} {self.target}{lasts}"


def draw_long_havoc(rng: random.Random, journeys: int) -> list[Blow]:
    """Draw faults that kill every service at least twice and twice freeze a process beyond its lease."""
    blows = [(Kind.KILL, name, 0.0) for name in SERVICES for _ in range(2)]
    blows += [(Kind.KILL, _one_of(rng, SERVICES), 0.0) for _ in range(16)]
    blows += [(Kind.KILL, _one_of(rng, RELAYS), 0.0) for _ in range(6)]
    blows += [(Kind.CUT_DATABASE, _one_of(rng, DATABASES), 0.0) for _ in range(14)]
    blows += [(Kind.FREEZE, _one_of(rng, CALLEES), rng.uniform(1, 6)) for _ in range(4)]
    blows += [(Kind.FREEZE, _one_of(rng, each), BEYOND_LEASE_S) for each in (RELAYS, LEASEHOLDERS)]
    for kind in (Kind.SLOW, Kind.LOSE_ANSWERS):
        blows += [(kind, _one_of(rng, CALLEES), rng.uniform(0.5, 3)) for _ in range(4)]
    return _spread(rng, blows, journeys)


def draw_short_havoc(rng: random.Random, journeys: int) -> list[Blow]:
    """Draw at least one fault of every kind, each lasting at most 2.5 seconds."""
    blows = [(Kind.KILL, name, 0.0) for name in ("session", "payment", "communication", _one_of(rng, RELAYS))]
    blows += [(Kind.CUT_DATABASE, name, 0.0) for name in ("session", "payment", "communication")]
    blows += [(Kind.FREEZE, _one_of(rng, CALLEES), 1.5)]
    blows += [(Kind.SLOW, rng.choice(["user", "gym"]), 1.0)]
    blows += [(Kind.LOSE_ANSWERS, name, 0.5) for name in ("payment", "session")]
    return _spread(rng, blows, journeys)


def _one_of(rng: random.Random, weights: dict[str, int]) -> str:
    (target,) = rng.choices(list(weights), list(weights.values()))
    return target


def _spread(rng: random.Random, blows: list[tuple[Kind, str, float]], journeys: int) -> list[Blow]:
    """Assign the faults in random order to the first 90 % of the journeys, so that later journeys meet each fault."""
    rng.shuffle(blows)
    last = max(1, journeys * 9 // 10)
    drawn = [Blow(rng.randint(1, last), *blow) for blow in blows]
    return sorted(drawn, key=lambda blow: blow.after)


class Havoc:
    """Injector of a plan's faults into a mesh."""

    def __init__(self, mesh: BreakableMesh, blows: Sequence[Blow], rng: random.Random) -> None:
        self._mesh = mesh
        self._to_come = list(blows)
        self._rng = rng
        self._falling: list[asyncio.Task[None]] = []
        self._began_s = time.monotonic()
        self.log: list[str] = []

    def strike(self, begun: int) -> None:
        """Start all faults that are due after `begun` journeys."""
        while self._to_come and self._to_come[0].after <= begun:
            blow = self._to_come.pop(0)
            self._mesh.broken[str(blow.kind)] += 1
            self._falling.append(asyncio.create_task(self._fall(blow)))

    async def over(self) -> None:
        """Start the remaining faults and wait until all have ended; raise if one could not be injected or repaired."""
        self.strike(max((blow.after for blow in self._to_come), default=0))
        await asyncio.gather(*self._falling)

    async def stop(self) -> None:
        """Cancel all running faults."""
        for task in self._falling:
            task.cancel()
        await asyncio.gather(*self._falling, return_exceptions=True)

    async def _fall(self, blow: Blow) -> None:
        fell_s = time.monotonic() - self._began_s
        try:
            await self._break(blow)
        finally:
            self.log.append(f"{fell_s:.1f} s to {time.monotonic() - self._began_s:.1f} s: {blow}")

    async def _break(self, blow: Blow) -> None:
        match blow.kind:
            case Kind.KILL:
                await self._mesh.kill(blow.target)
            case Kind.FREEZE:
                await self._mesh.freeze(blow.target, blow.lasts_s)
            case Kind.CUT_DATABASE:
                await self._mesh.cut_database(blow.target, self._rng.uniform(0.3, 1), self._rng)
            case Kind.SLOW:
                latency_s = LATENCY_S[blow.target]
                await self._mesh.slow_down(blow.target, latency_s, latency_s + blow.lasts_s)
            case Kind.LOSE_ANSWERS:
                await self._mesh.lose_answers(blow.target, blow.lasts_s)
