"""Adaptive concurrency: as many calls at once as are answered about as fast as usual.

After Gradient2 of Netflix's concurrency-limits: the limit shrinks by the ratio of the usual latency to the present one,
and grows while it is used and latency stays as usual. More lenient than there: latency counts as the mean over half a
second, may double, and the limit begins far above what a healthy method needs.
"""

from __future__ import annotations

import math

INITIAL = 400
LEAST = 20
MOST = 1_000
WINDOW_S = 0.5
LEAST_SAMPLES = 10
# The usual latency is a mean over about so many windows, and begins as that of the first few.
USUAL_WINDOWS = 600
FIRST_WINDOWS = 10
TOLERANCE = 2.0
STEEPEST = 0.5
SMOOTHING = 0.5
# Where more of a window's calls than this run out of time, the least is halved, to a quarter at last; with each window
# in which they do not, it comes back by so much.
LATE_SHARE = 0.05
LEAST_SHARE = 0.25
RECOVERY = 1.02


class Gradient:
    """How many calls of one kind may be under way at once: `limit`, kept between `least` and 1,000.

    Where calls run out of time while they are under way, `least` counts for a quarter: other kinds of calls may wait
    for the same thing. `in_flight` is how many are under way. Each call is told by `enter` and `leave`.
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
        """Count a call that begins."""
        self.in_flight += 1
        self._busiest = max(self._busiest, self.in_flight)

    def leave(self, latency_s: float | None, began_s: float, *, late: bool = False) -> None:
        """Count a call that began at `began_s` and has ended, `latency_s` later, or None where that says nothing.

        `late` is one that ran out of time.
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
        """Return the latency to count for a call given up after `latency_s`: it would have taken longer."""
        return latency_s if latency_s > self._usual_s else None

    def _adjust(self, latency_s: float, busiest: int) -> None:
        latency_s = max(latency_s, 1e-6)
        self._windows += 1
        weight = 1 / (self._windows if self._windows <= FIRST_WINDOWS else USUAL_WINDOWS)
        self._usual_s += (latency_s - self._usual_s) * weight
        if self._usual_s > 2 * latency_s:  # an overload is over: it must not count as usual
            self._usual_s *= 0.95
        if self._late > LATE_SHARE * self._samples:
            self._floor = max(self._least * LEAST_SHARE, self._floor / 2)
            self.limit = max(self._floor, min(self.limit, busiest) / 2)
            return
        self._floor = min(self._least, self._floor * RECOVERY)
        gradient = min(1.0, max(STEEPEST, TOLERANCE * self._usual_s / latency_s))
        if busiest >= self.limit / 2:
            aim = self.limit * gradient + math.sqrt(self.limit)
        elif gradient < 1:  # at first, only the room that nobody uses goes
            aim = busiest
        else:
            aim = self.limit
        self.limit = min(MOST, max(self._floor, self.limit + SMOOTHING * (aim - self.limit)))
