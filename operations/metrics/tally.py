"""Tally of finished calls: rate, errors and durations of one edge or one method."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from operations.metrics.reading import Bucket

if TYPE_CHECKING:
    from collections.abc import Mapping

    from operations.metrics.reading import Outcome

OK = "OK"
# Codes of a fault of the callee or the network. All other codes are answers, such as "SLOT_TAKEN".
FAILURE_CODES = frozenset(
    {"Unknown", "DeadlineExceeded", "ResourceExhausted", "Unimplemented", "Internal", "Unavailable", "DataLoss"}
)

# Above this share of failed calls, an edge is shown as failing.
FAILING_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Rates:
    """Calls that finished in the window.

    `error_share` counts every code other than OK, and `failure_share` only FAILURE_CODES; both are None without calls.
    `p50_ms` and `p99_ms` are estimates from histogram buckets, and None if the durations are unknown. `outcomes` maps
    codes and reasons other than OK ("Aborted SLOT_TAKEN") to the number of calls.
    """

    calls: float = 0.0
    calls_per_s: float = 0.0
    error_share: float | None = None
    failure_share: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    outcomes: Mapping[str, float] = field(default_factory=dict)


class Tally:
    """Sum of the increases of counters, also of several processes of a service."""

    def __init__(self) -> None:
        self._per_s = 0.0
        self._codes: dict[tuple[str, str], float] = defaultdict(float)
        self._buckets: dict[float, float] = defaultdict(float)

    def add(self, counter: Outcome | Bucket, increase: float, span_s: float) -> None:
        """Add the increase of a counter within `span_s` seconds."""
        if isinstance(counter, Bucket):
            self._buckets[counter.bound_s] += increase
        else:
            self._per_s += increase / span_s
            self._codes[counter.code, counter.reason] += increase

    def rates(self) -> Rates:
        """Return the rates of all calls."""
        calls = float(sum(self._codes.values()))
        if not calls:
            return Rates()
        errors = {pair: number for pair, number in self._codes.items() if pair[0] != OK}
        failures = sum(number for (code, _), number in errors.items() if code in FAILURE_CODES)
        return Rates(
            calls,
            self._per_s,
            sum(errors.values()) / calls,
            failures / calls,
            _in_ms(quantile(self._buckets, 0.5)),
            _in_ms(quantile(self._buckets, 0.99)),
            {" ".join(filter(None, pair)): number for pair, number in sorted(errors.items())},
        )


def is_failing(rates: Rates) -> bool:
    """Return whether at least FAILING_SHARE of the calls failed."""
    return (rates.failure_share or 0.0) >= FAILING_SHARE


def quantile(buckets: Mapping[float, float], share: float) -> float | None:
    """Return a quantile of a histogram, or None if it is empty.

    `buckets` maps upper bounds to the number of values up to each. As in PromQL's histogram_quantile, values are spread
    evenly within a bucket, and a quantile above the last finite bound is that bound.
    """
    total = buckets.get(math.inf, 0.0)
    if not total:
        return None
    rank, below, lower = share * total, 0.0, 0.0
    for bound, number in sorted(buckets.items()):
        if number >= rank and number > below:
            return lower if math.isinf(bound) else lower + (bound - lower) * (rank - below) / (number - below)
        below, lower = number, bound
    return lower


def _in_ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1_000
