"""Generic cell rate algorithm: rate limiter with bursts that stores one number per key.

The algorithm is virtual scheduling of ATM Forum's Traffic Management 4.0. For each key it stores the time at which the
next call would arrive if all calls came evenly. A call may come earlier than that by the duration of a burst.

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

# A key takes about 200 bytes, so all keys together take at most 20 MB.
MAX_KEYS = 100_000
# Tolerance for the rounding of floats and protobuf's nanoseconds: a caller is admitted after exactly its retry delay.
ROUNDING_S = 1e-6


class Gcra:
    """Rate limiter that admits at most `calls_per_second * t + burst` calls per key in any `t` seconds.

    The limiter stores at most `max_keys` keys and drops the least recently used. Dropping a key with a full burst has
    no effect. If more keys are in use, an unknown key starts from the furthest state of all dropped keys. Some keys
    then get a smaller burst than they should, and none gets a larger one.
    """

    def __init__(self, calls_per_second: float, burst: int, *, max_keys: int = MAX_KEYS) -> None:
        if not (calls_per_second > 0 and burst >= 1 and max_keys >= 1):
            raise ValueError("calls_per_second must be above 0; burst and max_keys must be at least 1.")
        self._interval_s = 1 / calls_per_second
        self._tolerance_s = (burst - 1) / calls_per_second
        self._max_keys = max_keys
        self._expected_s: OrderedDict[Hashable, float] = OrderedDict()
        self._evicted_s = float("-inf")

    def __len__(self) -> int:
        return len(self._expected_s)

    def admit(self, key: Hashable, now_s: float) -> float:
        """Admit a call of `key` and return 0.0, or return the seconds until it will be admitted.

        `now_s` comes from a monotonic clock. A rejected call does not count.
        """
        expected_s = self._expected_s.get(key)
        if expected_s is None:
            return self._admit_new(key, now_s)
        # Also for a rejected call, so that a key that calls constantly is not dropped as least recently used.
        self._expected_s.move_to_end(key)
        early_s = expected_s - self._tolerance_s - now_s
        if early_s > ROUNDING_S:
            return early_s
        self._expected_s[key] = max(expected_s, now_s) + self._interval_s
        return 0.0

    def _admit_new(self, key: Hashable, now_s: float) -> float:
        early_s = self._evicted_s - self._tolerance_s - now_s
        if early_s > ROUNDING_S:
            return early_s
        self._expected_s[key] = max(self._evicted_s, now_s) + self._interval_s
        if len(self._expected_s) > self._max_keys:
            self._evicted_s = max(self._evicted_s, self._expected_s.popitem(last=False)[1])
        return 0.0
