"""Adaptive concurrency limit: limits the calls in flight by comparing their latency with the usual latency.

The algorithm follows Gradient2 of Netflix's concurrency-limits. The limit shrinks by the ratio of the usual latency to
the present one. The limit grows while it is used and latency is normal. The version here is more lenient: latency is
the mean over half a second and may double, and the limit starts far above the need of a healthy method.
"""

from __future__ import annotations

import math

INITIAL_LIMIT = 400
MIN_LIMIT = 20
MAX_LIMIT = 1_000
WINDOW_S = 0.5
MIN_SAMPLES = 10
# The usual latency is a mean over about USUAL_WINDOWS windows, and starts as the mean of the first FIRST_WINDOWS.
USUAL_WINDOWS = 600
FIRST_WINDOWS = 10
TOLERANCE = 2.0
MIN_GRADIENT = 0.5
SMOOTHING = 0.5
# If more than LATE_SHARE of a window's calls run out of time, the minimum limit is halved, down to MIN_LIMIT_SHARE of
# it. Each other window multiplies it by RECOVERY_FACTOR.
LATE_SHARE = 0.05
MIN_LIMIT_SHARE = 0.25
RECOVERY_FACTOR = 1.02


class Gradient:
    """Concurrency limit for calls of one kind: `limit`, between `min_limit` and 1,000, or exactly a larger `min_limit`.

    `min_limit` drops to as little as a quarter while running calls run out of time, because other kinds of calls may
    wait for the same resource. `in_flight` is the number of calls in flight: add 1 to `in_flight` at the start of each
    call, and call `leave` at the end of the call.
    """

    def __init__(self, min_limit: int = MIN_LIMIT) -> None:
        self.limit = float(max(INITIAL_LIMIT, min_limit))
        self._min_limit = self._floor = float(min_limit)
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
        self._peak_in_flight = 0

    def leave(self, latency_s: float | None, began_s: float, *, late: bool = False) -> None:
        """Count a finished call that started at `began_s` and took `latency_s`; None is not measured.

        `late` marks a call that ran out of time.
        """
        if self.in_flight > self._peak_in_flight:  # noqa: PLR1730 - on every call; max would double the cost
            self._peak_in_flight = self.in_flight
        self.in_flight -= 1
        if latency_s is None:
            return
        self._sum_s += latency_s
        self._samples += 1
        self._late += late
        if began_s >= self._ends_s and self._samples >= MIN_SAMPLES:
            self._adjust(self._sum_s / self._samples, self._peak_in_flight)
            self._begin_window(began_s)

    def latency_if_cancelled(self, latency_s: float) -> float | None:
        """Return the latency to count for a call cancelled after `latency_s`, or None to ignore it.

        The call would have taken longer, so it counts only if it already took longer than usual.
        """
        return latency_s if latency_s > self._usual_s else None

    def _adjust(self, latency_s: float, peak_in_flight: int) -> None:
        latency_s = max(latency_s, 1e-6)
        self._windows += 1
        weight = 1 / (self._windows if self._windows <= FIRST_WINDOWS else USUAL_WINDOWS)
        self._usual_s += (latency_s - self._usual_s) * weight
        if self._usual_s > 2 * latency_s:  # after an overload, its latency must not count as usual
            self._usual_s *= 0.95
        if self._late > LATE_SHARE * self._samples:
            self._floor = max(self._min_limit * MIN_LIMIT_SHARE, self._floor / 2)
            self.limit = max(self._floor, min(self.limit, peak_in_flight) / 2)
            return
        self._floor = min(self._min_limit, self._floor * RECOVERY_FACTOR)
        gradient = min(1.0, max(MIN_GRADIENT, TOLERANCE * self._usual_s / latency_s))
        if peak_in_flight >= self.limit / 2:
            target = self.limit * gradient + math.sqrt(self.limit)
        elif gradient < 1:  # first remove only the unused capacity
            target = peak_in_flight
        else:
            target = self.limit
        self.limit = max(self._floor, min(MAX_LIMIT, self.limit + SMOOTHING * (target - self.limit)))
