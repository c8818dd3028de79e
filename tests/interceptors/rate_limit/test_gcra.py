from __future__ import annotations

import random
import tracemalloc
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interceptors.rate_limit.gcra import ROUNDING_S, Gcra

RATES = st.floats(0.1, 1_000)
BURSTS = st.integers(1, 50)
# Pauses in units of the interval between two calls at the steady rate.
PAUSES = st.lists(st.one_of(st.just(0.0), st.floats(0, 3)), min_size=1, max_size=300)


def worst_excess(admitted_s: list[float], rate: float, burst: int) -> float:
    """Return the largest excess of any window over `rate * window + burst`, in one pass."""
    worst, least = float("-inf"), float("inf")
    for number, at_s in enumerate(admitted_s):
        least = min(least, number - rate * at_s)
        worst = max(worst, number + 1 - rate * at_s - least - burst)
    return worst


@given(RATES, BURSTS, PAUSES)
def test_no_window_exceeds_rate_and_burst(rate: float, burst: int, pauses: list[float]) -> None:
    """No window admits more than `rate * window + burst` calls, for any arrivals."""
    limit = Gcra(rate, burst)
    arrivals_s = [1_000 + pause / rate for pause in accumulate(pauses)]

    admitted_s = [at_s for at_s in arrivals_s if limit.admit("key", at_s) == 0.0]

    assert worst_excess(admitted_s, rate, burst) <= rate * ROUNDING_S + 1e-6


@pytest.mark.parametrize("load", [0.5, 1.0, 10.0])
def test_a_long_run_neither_exceeds_nor_wastes_the_limit(load: float) -> None:
    """Over 100,000 arrivals, the limit is never exceeded and at least 90 % of the possible calls are admitted."""
    chance, limit, now_s, admitted_s = random.Random(1), Gcra(100, 10), 0.0, []  # noqa: S311 - a simulation
    for _ in range(100_000):
        now_s += chance.expovariate(100 * load)
        if limit.admit("key", now_s) == 0.0:
            admitted_s.append(now_s)

    assert worst_excess(admitted_s, 100, 10) <= 1e-3
    assert len(admitted_s) >= 0.9 * min(1, load) * 100 * now_s


@given(RATES, BURSTS, PAUSES)
def test_a_call_after_the_reported_wait_is_admitted(rate: float, burst: int, pauses: list[float]) -> None:
    """A rejected call is admitted after the reported wait, and rejected after half of it."""
    limit = Gcra(rate, burst)
    for at_s in [1_000 + pause / rate for pause in accumulate(pauses)]:
        wait_s = limit.admit("key", at_s)
        if wait_s > 4 * ROUNDING_S:
            assert limit.admit("key", at_s + wait_s / 2) > 0
            assert limit.admit("key", at_s + wait_s) == 0.0
            break


@given(
    st.lists(st.tuples(st.integers(0, 5), st.floats(0, 0.5)), max_size=300),
    st.integers(1, 6),
    st.integers(1, 4),
)
def test_eviction_grants_no_burst(calls: list[tuple[int, float]], burst: int, max_keys: int) -> None:
    """The limit of each key holds even if fewer keys are stored than are in use."""
    limit, now_s = Gcra(1, burst, max_keys=max_keys), 0.0
    admitted_s: dict[int, list[float]] = {}
    for key, pause_s in calls:
        now_s += pause_s
        if limit.admit(key, now_s) == 0.0:
            admitted_s.setdefault(key, []).append(now_s)

    assert len(limit) <= max_keys
    assert all(worst_excess(times, 1, burst) <= 1e-3 for times in admitted_s.values())


def test_an_idle_key_is_evicted_without_cost() -> None:
    """A key with a recovered limit gives its place to another key, and no call is rejected."""
    limit = Gcra(1, 2, max_keys=1)

    waits_s = [limit.admit(key, at_s) for at_s, key in [(0, "a"), (0, "a"), (2, "b"), (2, "b"), (4, "a"), (4, "a")]]

    assert waits_s == [0.0] * 6


def test_a_key_in_use_is_not_evicted() -> None:
    """A flood of new keys does not evict a key in use, because the least recently used key is evicted."""
    limit, hot, new = Gcra(1, 10, max_keys=100), 0, 0
    for number in range(1_000):
        hot += limit.admit("hot", number / 1_000) == 0.0
        new += limit.admit(number, number / 1_000) == 0.0

    assert hot <= 11
    assert new == 1_000


@pytest.mark.parametrize("keys", [200_000, pytest.param(1_000_000, marks=pytest.mark.soak)])
def test_many_keys_use_bounded_memory(keys: int) -> None:
    """At least 200,000 distinct keys use at most 100 MiB."""
    limit = Gcra(1_000_000, 10)
    tracemalloc.start()
    for number in range(keys):
        limit.admit(f"caller-{number:032}", number / 1_000)
    bytes_used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert bytes_used <= 100 * 2**20


def test_keys_are_independent() -> None:
    """A key far over its limit does not affect another key."""
    limit = Gcra(5, 10)
    rejected = sum(limit.admit("greedy", 0.001 * number) > 0 for number in range(1_000))

    assert rejected > 900
    assert [limit.admit("modest", 1.0 + number / 5) for number in range(20)] == [0.0] * 20


@pytest.mark.parametrize(("rate", "burst", "max_keys"), [(0, 1, 1), (-1, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_a_limit_without_capacity_is_rejected(rate: float, burst: int, max_keys: int) -> None:
    """A limit that could admit no call raises ValueError."""
    with pytest.raises(ValueError, match="calls_per_second"):
        Gcra(rate, burst, max_keys=max_keys)
