"""Window over the readings of one Prometheus page: the increases of its counters in the last seconds."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from typing import TYPE_CHECKING, NamedTuple

from operations.metrics.reading import Bucket

if TYPE_CHECKING:
    from operations.metrics.reading import Outcome, Reading

# Half a minute smooths the rates of few calls, and a fault is over in the numbers soon after it is fixed.
WINDOW_S = 30.0


class _Step(NamedTuple):
    """Increases between two readings."""

    began_s: float
    ended_s: float
    increases: dict[Outcome | Bucket, float]


class Window:
    """Increases of counters in the last `length_s` seconds. Times are monotonic, in seconds.

    A counter of a new process begins at zero, so its value is the increase, as in PromQL. Readings that are further
    apart than the window have no common window: the later one begins a new window.
    """

    def __init__(self, length_s: float = WINDOW_S) -> None:
        self._length_s = length_s
        self._steps: deque[_Step] = deque()
        self._read_at_s = 0.0
        self.latest: Reading | None = None

    def add(self, reading: Reading, now_s: float) -> None:
        """Add the reading at `now_s`."""
        before, began_s = self.latest, self._read_at_s
        self.latest, self._read_at_s = reading, now_s
        self.expire(now_s)
        if before is None or now_s - began_s > self._length_s:
            self._steps.clear()
            return
        self._steps.append(_Step(began_s, now_s, _increases(before, reading)))

    def expire(self, now_s: float) -> None:
        """Drop increases that began before the window."""
        while self._steps and self._steps[0].began_s < now_s - self._length_s:
            self._steps.popleft()

    @property
    def span_s(self) -> float:
        """Time between the first and the last reading in the window; 0 with less than two readings."""
        return self._steps[-1].ended_s - self._steps[0].began_s if self._steps else 0.0

    def increases(self) -> dict[Outcome | Bucket, float]:
        """Return the increases in the window: of counters that increased, and of all buckets of methods with calls."""
        total: dict[Outcome | Bucket, float] = defaultdict(float)
        for step in self._steps:
            for counter, increase in step.increases.items():
                total[counter] += increase
        return total


def _increases(before: Reading, after: Reading) -> dict[Outcome | Bucket, float]:
    is_same_process = before.start_time_s == after.start_time_s
    increases = {}
    for counter, value in after.counters.items():
        old = before.counters.get(counter, 0.0) if is_same_process else 0.0
        increases[counter] = value - old if value >= old else value
    return {counter: each for counter, each in increases.items() if each or _has_calls(counter, increases)}


def _has_calls(counter: Outcome | Bucket, increases: dict[Outcome | Bucket, float]) -> bool:
    """Return whether `counter` is a bucket of a method with calls, whose empty buckets bound its quantiles."""
    return isinstance(counter, Bucket) and increases.get(counter._replace(bound_s=math.inf), 0.0) > 0
