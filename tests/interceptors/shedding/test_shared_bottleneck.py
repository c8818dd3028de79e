"""Concurrency limits of methods that share one bottleneck, such as a database with one connection."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from interceptors.shedding.gradient import Gradient
from interceptors.shedding.interceptor import SHARES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEADLINE_S = 0.25
COST_S = 0.004
CAPACITY = 1 / COST_S
SHEDDABLE, NORMAL, CRITICAL = LEVELS = range(3)


@dataclass
class QueuedCall:
    """Call of one level, waiting for the bottleneck or served there."""

    level: int
    began_s: float
    is_running: bool = True


@dataclass
class Bottleneck:
    """Simulated bottleneck that serves one call at a time, in order. Each level is a method with a real limit."""

    now_s: float = 100.0
    limits: list[Gradient] = field(default_factory=lambda: [Gradient() for _ in LEVELS])
    sent: Counter[int] = field(default_factory=Counter)
    answered: Counter[int] = field(default_factory=Counter)
    _queue: deque[QueuedCall] = field(default_factory=deque)
    _serving: QueuedCall | None = None
    _events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _rng: random.Random = field(default_factory=lambda: random.Random(2))  # noqa: S311 - a simulation

    def send_load(self, load: float, seconds: float) -> None:
        """Send `load` times the capacity, each level equally often, and run until all calls have ended."""
        self.sent.clear()
        self.answered.clear()
        ends_s = self.now_s + seconds

        def arrive() -> None:
            if self.now_s < ends_s:
                self._after(self._rng.expovariate(load * CAPACITY), arrive)
                self._admit(self._rng.choice(LEVELS))

        arrive()
        while self._events:
            self.now_s, _, action = heapq.heappop(self._events)
            action()

    def _after(self, pause_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now_s + pause_s, next(self._numbers), action))

    def _admit(self, level: int) -> None:
        self.sent[level] += 1
        limit = self.limits[level]
        if limit.in_flight >= limit.limit * SHARES[level]:
            return
        limit.in_flight += 1
        call = QueuedCall(level, self.now_s)
        self._queue.append(call)
        self._after(DEADLINE_S, lambda: self._run_out(call))
        self._serve_next()

    def _serve_next(self) -> None:
        if self._serving is None and self._queue:
            self._serving = self._queue.popleft()
            self._after(COST_S * self._rng.uniform(0.5, 1.5), self._answer)

    def _answer(self) -> None:
        call, self._serving = self._serving, None
        assert call is not None
        if call.is_running:
            call.is_running = False
            self.answered[call.level] += 1
            self.limits[call.level].leave(self.now_s - call.began_s, call.began_s)
        self._serve_next()

    def _run_out(self, call: QueuedCall) -> None:
        if not call.is_running:
            return
        call.is_running = False
        if call is not self._serving:
            self._queue.remove(call)
        limit = self.limits[call.level]
        limit.leave(limit.latency_if_cancelled(DEADLINE_S), call.began_s, late=True)

    def goodput(self, seconds: float) -> float:
        """Return the share of the capacity used for answers in time."""
        return self.answered.total() / seconds / CAPACITY

    def share_answered(self, level: int) -> float:
        """Return the share of the calls of a level that were answered in time."""
        return self.answered[level] / self.sent[level]


def test_a_warm_service_has_high_goodput_under_overload() -> None:
    """At two and four times the capacity, a warm service uses 95 % of it for answers in time.

    Critical calls are preferred.
    """
    for load in (2.0, 4.0):
        bottleneck = Bottleneck()
        bottleneck.send_load(0.5, 30)

        bottleneck.send_load(load, 60)

        assert bottleneck.goodput(60) >= 0.95
        assert (
            bottleneck.share_answered(SHEDDABLE)
            < bottleneck.share_answered(NORMAL)
            < bottleneck.share_answered(CRITICAL)
        )
        assert bottleneck.answered[CRITICAL] / 60 >= 0.6 * min(CAPACITY, bottleneck.sent[CRITICAL] / 60)


def test_a_cold_service_has_high_goodput_under_overload() -> None:
    """A service that starts under overload uses 90 % of its capacity for answers in time.

    A cold service does not know its usual latency yet.
    """
    for load in (2.0, 4.0):
        bottleneck = Bottleneck()

        bottleneck.send_load(load, 60)

        assert bottleneck.goodput(60) >= 0.9


def test_normal_load_is_admitted_after_overload() -> None:
    """One second after an overload, 99 % of a normal load is answered."""
    bottleneck = Bottleneck()
    bottleneck.send_load(4.0, 30)
    bottleneck.send_load(0.5, 1)

    bottleneck.send_load(0.5, 30)

    assert bottleneck.answered.total() >= 0.99 * bottleneck.sent.total()
