from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interceptors.gradient import INITIAL, LEAST, LEAST_SAMPLES, MOST, WINDOW_S, Gradient


def load(
    gradient: Gradient, latency_s: float, concurrency: int, windows: int, began_s: float = 0.0, *, late: bool = False
) -> float:
    """Have `concurrency` calls at once under way for some windows; return when that ended."""
    now_s = began_s
    for _ in range(windows):
        now_s += 1.01 * WINDOW_S
        for _ in range(concurrency):
            gradient.enter()
        for _ in range(concurrency):
            gradient.leave(latency_s, now_s, late=late)
    return now_s


def test_the_limit_holds_while_latency_is_as_usual() -> None:
    """Use alone does not shrink it."""
    gradient = Gradient()

    load(gradient, 0.01, int(gradient.limit), windows=100)

    assert gradient.limit >= INITIAL


def test_it_shrinks_while_latency_stays_far_above_usual() -> None:
    """A queue within the handlers is cut to a size that is served in time."""
    gradient = Gradient()
    now_s = load(gradient, 0.01, INITIAL, windows=20)
    for _ in range(30):
        now_s = load(gradient, 0.2, int(gradient.limit), 1, now_s)

    assert gradient.limit < INITIAL / 4


def test_it_grows_again_when_latency_is_back() -> None:
    """What was slow once does not stay refused."""
    gradient = Gradient()
    now_s = load(gradient, 0.01, INITIAL, windows=20)
    now_s = load(gradient, 0.2, INITIAL, 20, now_s)
    shrunk = gradient.limit
    for _ in range(100):
        now_s = load(gradient, 0.01, int(gradient.limit), 1, now_s)

    assert shrunk < INITIAL / 4
    assert gradient.limit > INITIAL


def test_one_slow_window_refuses_nothing_that_was_admitted_before() -> None:
    """200 bookings that wait for one slot are no overload."""
    gradient = Gradient()
    now_s = load(gradient, 0.01, 20, windows=20)

    load(gradient, 1.5, 200, 2, now_s)

    assert gradient.limit > 200


def test_it_does_not_grow_while_it_is_not_used() -> None:
    """A quiet night does not make the limit large for the morning, nor small."""
    gradient = Gradient()

    load(gradient, 0.01, 20, windows=100)

    assert gradient.limit == INITIAL


def test_a_queue_below_the_limit_is_cut_too() -> None:
    """First goes the room that nobody uses, so that what is under way is not refused at once."""
    gradient = Gradient()
    now_s = load(gradient, 0.01, 20, windows=20)
    limits = []
    for _ in range(20):
        now_s = load(gradient, 0.25, min(100, int(gradient.limit)), 1, now_s)
        limits.append(gradient.limit)

    assert all(limit > 100 for limit in limits[:3])
    assert limits[-1] < 60


def test_a_setting_keeps_it_from_shrinking() -> None:
    """SHED_LEAST_CONCURRENCY: so many are served however slow they are, as long as they end in time."""
    gradient = Gradient(least=MOST)
    now_s = load(gradient, 0.01, 20, windows=20)

    load(gradient, 5.0, 500, 20, now_s)

    assert gradient.limit == MOST


def test_the_least_counts_for_a_quarter_while_calls_run_out_of_time() -> None:
    """Calls of other methods may wait for the same thing, and each method's least be too much for it."""
    gradient = Gradient()
    now_s = load(gradient, 0.25, 40, 20, late=True)
    lowest = gradient.limit

    load(gradient, 0.25, int(lowest), 200, now_s)

    assert lowest == LEAST / 4
    assert gradient.limit >= LEAST


def test_a_call_in_twenty_may_run_out_of_time() -> None:
    """A slow one among many is no overload."""
    gradient = Gradient()
    now_s = load(gradient, 0.01, 40, 20)
    for _ in range(20):
        for number in range(40):
            gradient.enter()
            gradient.leave(0.01, now_s, late=number < 2)
        now_s += WINDOW_S

    assert gradient.limit == INITIAL


def test_a_call_that_was_given_up_early_says_nothing() -> None:
    """Known is only that it would have taken longer, so it counts where that is longer than usual."""
    gradient = Gradient()
    load(gradient, 0.1, INITIAL, windows=5)

    assert gradient.if_given_up(0.05) is None
    assert gradient.if_given_up(0.5) == pytest.approx(0.5)
    gradient.enter()
    gradient.leave(None, 1_000.0)
    assert gradient.in_flight == 0


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(LEAST_SAMPLES, 300), st.booleans()), max_size=60))
def test_the_limit_stays_within_its_bounds(phases: list[tuple[float, int, bool]]) -> None:
    """Whatever the latencies, also none at all, and whether calls end in time."""
    gradient, now_s = Gradient(), 0.0
    for latency_s, concurrency, late in phases:
        now_s = load(gradient, latency_s, concurrency, 1, now_s, late=late)
        assert LEAST / 4 <= gradient.limit <= MOST
        assert gradient.in_flight == 0
