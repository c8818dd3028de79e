"""Adaptive concurrency limit: as many calls in flight as the usual latency allows.

Based on Gradient2 of Netflix's concurrency-limits. The limit shrinks by the ratio of the usual latency to the present
one. It grows while it is used and latency is normal. This version is more lenient: latency is the mean over half a
second and may double, and the limit starts far above the need of a healthy method.
"""

from __future__ import annotations

import math

INITIAL = 400
LEAST = 20
MOST = 1_000
WINDOW_S = 0.5
LEAST_SAMPLES = 10
# The usual latency is a mean over about this many windows. It starts as the mean of the first few.
USUAL_WINDOWS = 600
FIRST_WINDOWS = 10
TOLERANCE = 2.0
STEEPEST = 0.5
SMOOTHING = 0.5
# If more than LATE_SHARE of a window's calls run out of time, the least limit is halved, down to LEAST_SHARE of it.
# Each other window multiplies it by RECOVERY.
LATE_SHARE = 0.05
LEAST_SHARE = 0.25
RECOVERY = 1.02


class Gradient:
    """Concurrency limit for calls of one kind: `limit`, between `least` and 1,000, or exactly a larger `least`.

    `least` drops to as little as a quarter while running calls run out of time, because other kinds of calls may wait
    for the same resource. `in_flight` is the number of calls in flight. Call `enter` at the start of each call and
    `leave` at its end.
    """

    def __init__(self, least: int = LEAST) -> None:
        self.limit = float(max(INITIAL, least))
        self._least = self._floor = float(least)
        self.in_flight = 0
        self._usual_s = 0.0
        self._windows = 0
        self._ends_s = -math.inf
        self._begin_window(-math.inf)

    def _begin_window(self, began_s: float) -> None:
        self._ends_s = began_s + WINDOW_S
        self._sum_s = 0.0
        self._samples = 0
        self._late = 0
        self._busiest = 0

    def enter(self) -> None:
        """Count a started call."""
        self.in_flight += 1
        self._busiest = max(self._busiest, self.in_flight)

    def leave(self, latency_s: float | None, began_s: float, *, late: bool = False) -> None:
        """Count a finished call that started at `began_s` and took `latency_s`; None is not measured.

        `late` marks a call that ran out of time.
        """
        self.in_flight -= 1
        if latency_s is None:
            return
        self._sum_s += latency_s
        self._samples += 1
        self._late += late
        if began_s >= self._ends_s and self._samples >= LEAST_SAMPLES:
            self._adjust(self._sum_s / self._samples, self._busiest)
            self._begin_window(began_s)

    def if_given_up(self, latency_s: float) -> float | None:
        """Return the latency to count for a call cancelled after `latency_s`, or None to ignore it.

        The call would have taken longer, so it counts only if it already took longer than usual.
        """
        return latency_s if latency_s > self._usual_s else None

    def _adjust(self, latency_s: float, busiest: int) -> None:
        latency_s = max(latency_s, 1e-6)
        self._windows += 1
        weight = 1 / (self._windows if self._windows <= FIRST_WINDOWS else USUAL_WINDOWS)
        self._usual_s += (latency_s - self._usual_s) * weight
        if self._usual_s > 2 * latency_s:  # after an overload, its latency must not count as usual
            self._usual_s *= 0.95
        if self._late > LATE_SHARE * self._samples:
            self._floor = max(self._least * LEAST_SHARE, self._floor / 2)
            self.limit = max(self._floor, min(self.limit, busiest) / 2)
            return
        self._floor = min(self._least, self._floor * RECOVERY)
        gradient = min(1.0, max(STEEPEST, TOLERANCE * self._usual_s / latency_s))
        if busiest >= self.limit / 2:
            aim = self.limit * gradient + math.sqrt(self.limit)
        elif gradient < 1:  # first remove only the unused capacity
            aim = busiest
        else:
            aim = self.limit
        self.limit = max(self._floor, min(MOST, self.limit + SMOOTHING * (aim - self.limit)))
