"""Queue delay: distinguishes a standing queue from a short burst.

In CoDel (RFC 8289), a burst makes some calls wait, but a standing queue makes all of them wait. A queue is standing if
even the least delay of an interval is above the target. Here it stops standing only when the mean delay of an interval
is below half the target. Rejecting calls holds the delay at the target, and that must not count as recovery.

    >>> delay = QueueDelay(targets_s=[0.02], interval_s=0.1)
    >>> [delay.observe(0.030, now_s=now_s)[0] for now_s in (1.00, 1.05, 1.11)]
    [False, False, True]
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERVAL_S = 0.1
RECOVERY_RATIO = 0.5


class QueueDelay:
    """Detector of standing queues, with one result for each of `targets_s`.

    After a pause without calls no queue is standing. Times are in seconds on a monotonic clock.
    """

    def __init__(self, targets_s: Sequence[float], interval_s: float = INTERVAL_S) -> None:
        self.standing = [False] * len(targets_s)
        self._targets_s = tuple(targets_s)
        # The caller claims the delay. The cap prevents one false claim from outweighing all others.
        self._max_delay_s = max(self._targets_s)
        self._interval_s = interval_s
        self._begin(-math.inf)

    def _begin(self, now_s: float) -> None:
        self._ends_s = now_s + self._interval_s
        self._min_delay_s = math.inf
        self._sum_s = 0.0
        self._calls = 0

    def observe(self, delay_s: float, now_s: float) -> list[bool]:
        """Add the delay of a call; return `standing`, in the order of the targets."""
        if now_s >= self._ends_s:
            self.standing_at(now_s)
        if delay_s < self._min_delay_s:  # noqa: PLR1730 - on every call; min would double the cost
            self._min_delay_s = delay_s
        self._sum_s += delay_s if delay_s < self._max_delay_s else self._max_delay_s  # noqa: FURB136 - as above
        self._calls += 1
        return self.standing

    def standing_at(self, now_s: float) -> list[bool]:
        """Return `standing` for a call with an unknown delay."""
        if now_s >= self._ends_s:
            self._evaluate(is_pause=self._calls == 0 or now_s >= self._ends_s + self._interval_s)
            self._begin(now_s)
        return self.standing

    def _evaluate(self, *, is_pause: bool) -> None:
        if is_pause:  # no calls arrived or the machine was suspended, so earlier delays mean nothing
            self.standing = [False] * len(self._targets_s)
            return
        mean_s = self._sum_s / self._calls
        self.standing = [
            self._min_delay_s > target_s or (standing and mean_s > RECOVERY_RATIO * target_s)
            for standing, target_s in zip(self.standing, self._targets_s, strict=True)
        ]
