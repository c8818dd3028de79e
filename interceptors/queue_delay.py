"""Queue delay: tells a queue that stands from one that comes and goes.

CoDel (RFC 8289) sees that a burst makes some wait, but a standing queue makes all wait: the least delay within an
interval is what the queue costs without being of use. This is its estimator; what to refuse is decided elsewhere.

    >>> delay = StandingDelay(interval_s=0.1)
    >>> [delay.observe(0.030, now_s=now_s) for now_s in (1.00, 1.05, 1.11)]
    [0.0, 0.0, 0.03]
"""

from __future__ import annotations

INTERVAL_S = 0.1


class StandingDelay:
    """The least delay of the last whole interval, in seconds; 0.0 while there is none, or where calls are too few."""

    def __init__(self, interval_s: float = INTERVAL_S) -> None:
        self._interval_s = interval_s
        self._ends_s = float("-inf")
        self._least_s = 0.0
        self._standing_s = 0.0

    def observe(self, delay_s: float, now_s: float) -> float:
        """Take in how long a call has waited and return the standing delay."""
        standing_s = self.at(now_s)
        self._least_s = min(self._least_s, delay_s)
        return standing_s

    def at(self, now_s: float) -> float:
        """Return the standing delay at `now_s`, which comes from a clock that never goes back."""
        if now_s >= self._ends_s:
            # After a pause, of the calls or of the machine, the delays before it say nothing.
            follows = now_s < self._ends_s + self._interval_s and self._least_s < float("inf")
            self._standing_s = self._least_s if follows else 0.0
            self._least_s = float("inf")
            self._ends_s = now_s + self._interval_s
        return self._standing_s
