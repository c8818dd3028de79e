from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interceptors.shedding.gradient import INITIAL_LIMIT, MAX_LIMIT, MIN_LIMIT, MIN_SAMPLES, WINDOW_S, Gradient


def load(
    gradient: Gradient, latency_s: float, concurrency: int, windows: int, began_s: float = 0.0, *, late: bool = False
) -> float:
    """Run `concurrency` calls at once for some windows, and return the time of their end."""
    now_s = began_s
    for _ in range(windows):
        now_s += 1.01 * WINDOW_S
        for _ in range(concurrency):
            gradient.in_flight += 1
        for _ in range(concurrency):
            gradient.leave(latency_s, now_s, late=late)
    return now_s


def test_the_limit_holds_at_usual_latency() -> None:
    """The limit does not shrink under full load at the usual latency."""
    gradient = Gradient()

    load(gradient, 0.01, int(gradient.limit), windows=100)

    assert gradient.limit >= INITIAL_LIMIT


def test_the_limit_shrinks_while_latency_is_high() -> None:
    """The limit shrinks to less than a quarter while latency is 20 times the usual."""
    gradient = Gradient()
    now_s = load(gradient, 0.01, INITIAL_LIMIT, windows=20)
    for _ in range(30):
        now_s = load(gradient, 0.2, int(gradient.limit), 1, now_s)

    assert gradient.limit < INITIAL_LIMIT / 4


def test_the_limit_grows_again_at_usual_latency() -> None:
    """The limit grows above its initial value again when latency returns to the usual."""
    gradient = Gradient()
    now_s = load(gradient, 0.01, INITIAL_LIMIT, windows=20)
    now_s = load(gradient, 0.2, INITIAL_LIMIT, 20, now_s)
    shrunk = gradient.limit
    for _ in range(100):
        now_s = load(gradient, 0.01, int(gradient.limit), 1, now_s)

    assert shrunk < INITIAL_LIMIT / 4
    assert gradient.limit > INITIAL_LIMIT


def test_one_slow_burst_does_not_shrink_the_limit() -> None:
    """The limit stays above 200 after two slow windows with 200 concurrent calls: a short burst is no overload."""
    gradient = Gradient()
    now_s = load(gradient, 0.01, 20, windows=20)

    load(gradient, 1.5, 200, 2, now_s)

    assert gradient.limit > 200


def test_an_unused_limit_does_not_change() -> None:
    """The limit stays at its initial value while concurrency is far below it."""
    gradient = Gradient()

    load(gradient, 0.01, 20, windows=100)

    assert gradient.limit == INITIAL_LIMIT


def test_a_queue_below_the_limit_shrinks_the_limit() -> None:
    """High latency below the limit first removes unused room, and then shrinks the limit below the concurrency."""
    gradient = Gradient()
    now_s = load(gradient, 0.01, 20, windows=20)
    limits = []
    for _ in range(20):
        now_s = load(gradient, 0.25, min(100, int(gradient.limit)), 1, now_s)
        limits.append(gradient.limit)

    assert all(limit > 100 for limit in limits[:3])
    assert limits[-1] < 60


@pytest.mark.parametrize("least", [MAX_LIMIT, 2 * MAX_LIMIT])
def test_the_limit_never_falls_below_the_least_concurrency(least: int) -> None:
    """The limit never falls below the least concurrency while calls end in time (SHED_LEAST_CONCURRENCY)."""
    gradient = Gradient(min_limit=least)
    now_s = load(gradient, 0.01, 20, windows=20)

    load(gradient, 5.0, 500, 20, now_s)

    assert gradient.limit == least


def test_late_calls_lower_the_least_concurrency_to_a_quarter() -> None:
    """The limit falls to a quarter of the least concurrency while calls end late, and recovers when they do not."""
    gradient = Gradient()
    now_s = load(gradient, 0.25, 40, 20, late=True)
    lowest = gradient.limit

    load(gradient, 0.25, int(lowest), 200, now_s)

    assert lowest == MIN_LIMIT / 4
    assert gradient.limit >= MIN_LIMIT


def test_five_percent_of_late_calls_are_no_overload() -> None:
    """The limit does not shrink while one call in twenty ends late."""
    gradient = Gradient()
    now_s = load(gradient, 0.01, 40, 20)
    for _ in range(20):
        for number in range(40):
            gradient.in_flight += 1
            gradient.leave(0.01, now_s, late=number < 2)
        now_s += WINDOW_S

    assert gradient.limit == INITIAL_LIMIT


def test_an_early_cancelled_call_is_no_sample() -> None:
    """A cancelled call counts as a sample only if it already took longer than usual."""
    gradient = Gradient()
    load(gradient, 0.1, INITIAL_LIMIT, windows=5)

    assert gradient.latency_if_cancelled(0.05) is None
    assert gradient.latency_if_cancelled(0.5) == pytest.approx(0.5)
    gradient.in_flight += 1
    gradient.leave(None, 1_000.0)
    assert gradient.in_flight == 0


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(MIN_SAMPLES, 300), st.booleans()), max_size=60))
def test_the_limit_stays_within_its_bounds(phases: list[tuple[float, int, bool]]) -> None:
    """The limit stays between a quarter of MIN_LIMIT and MAX_LIMIT for any latencies, late calls included."""
    gradient, now_s = Gradient(), 0.0
    for latency_s, concurrency, late in phases:
        now_s = load(gradient, latency_s, concurrency, 1, now_s, late=late)
        assert MIN_LIMIT / 4 <= gradient.limit <= MAX_LIMIT
        assert gradient.in_flight == 0
