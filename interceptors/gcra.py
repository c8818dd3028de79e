"""Generic cell rate algorithm: admits at a steady rate with room for a burst, one number kept for each key.

The algorithm is that of ATM Forum's Traffic Management 4.0 (virtual scheduling). For each key it keeps the time at
which the next call would arrive if all came evenly; a call may come early by the time that a burst takes.

    >>> limit = Gcra(calls_per_second=4, burst=2)
    >>> [limit.admit("caller", now_s=100.0) for _ in range(3)]
    [0.0, 0.0, 0.25]
    >>> limit.admit("caller", now_s=100.25)
    0.0
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

# A key is about 200 bytes: 20 MB at most.
KEYS_MAX = 100_000
# Whoever comes back exactly when told to must not be too early by what floats and protobuf's nanoseconds round away.
ROUNDING_S = 1e-6


class Gcra:
    """Admits, for each key, at most `calls_per_second * t + burst` calls in any `t` seconds.

    At most `keys_max` keys are remembered, those used last. A key whose burst has grown back is forgotten for free.
    Where more keys than that are in use at once, one that is not remembered begins where the furthest of the forgotten
    stood: then some get less of a burst than they are due, and none gets more.
    """

    def __init__(self, calls_per_second: float, burst: int, *, keys_max: int = KEYS_MAX) -> None:
        if not (calls_per_second > 0 and burst >= 1 and keys_max >= 1):
            raise ValueError("calls_per_second must be above 0, burst and keys_max at least 1")
        self._interval_s = 1 / calls_per_second
        self._tolerance_s = (burst - 1) / calls_per_second
        self._keys_max = keys_max
        self._expected_s: OrderedDict[Hashable, float] = OrderedDict()
        self._forgotten_s = float("-inf")

    def __len__(self) -> int:
        return len(self._expected_s)

    def admit(self, key: Hashable, now_s: float) -> float:
        """Admit a call of `key` and return 0.0, or return the seconds after which it will be admitted.

        `now_s` comes from a clock that never goes back. What is refused costs nothing.
        """
        expected_s = self._expected_s.get(key)
        if expected_s is None:
            return self._admit_new(key, now_s)
        # Also on a refusal: a key that knocks all the time must not become the one to forget.
        self._expected_s.move_to_end(key)
        early_s = expected_s - self._tolerance_s - now_s
        if early_s > ROUNDING_S:
            return early_s
        self._expected_s[key] = max(expected_s, now_s) + self._interval_s
        return 0.0

    def _admit_new(self, key: Hashable, now_s: float) -> float:
        early_s = self._forgotten_s - self._tolerance_s - now_s
        if early_s > ROUNDING_S:
            return early_s
        self._expected_s[key] = max(self._forgotten_s, now_s) + self._interval_s
        if len(self._expected_s) > self._keys_max:
            self._forgotten_s = max(self._forgotten_s, self._expected_s.popitem(last=False)[1])
        return 0.0
