from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from interceptors.shedding.queue_delay import QueueDelay

TARGET_S = 0.02


def observed(delays_ms: list[int], pause_s: float = 0.01) -> list[bool]:
    """Return for each call whether it finds a standing queue. One call arrives after each pause."""
    delay = QueueDelay([TARGET_S])
    return [delay.observe(ms / 1000, 10 + number * pause_s)[0] for number, ms in enumerate(delays_ms)]


def test_a_burst_is_no_standing_queue() -> None:
    """A queue is not standing if a call in each burst did not wait, because the queue was empty then."""
    assert not any(observed(([50] * 7 + [1]) * 20))


def test_a_queue_is_standing_after_an_interval_of_waiting_calls() -> None:
    """A queue is standing once all calls of one interval have waited longer than the target."""
    standing = observed([25] * 30)

    assert standing.index(True) == 10
    assert all(standing[10:])


def test_a_queue_at_the_target_is_still_standing() -> None:
    """A standing queue is still standing while its delay is around the target.

    Admitting all calls would let the queue grow again.
    """
    standing = observed([25] * 15 + [15, 22] * 50)

    assert all(standing[10:])


def test_a_queue_recovers_below_half_of_the_target() -> None:
    """A queue is no longer standing two intervals after delays fell below half of the target, despite one late call."""
    standing = observed([25] * 15 + [5] * 19 + [30] + [5] * 20)

    assert standing[14]
    assert not any(standing[36:])


def test_rare_false_delays_make_no_standing_queue() -> None:
    """A queue that ends is no longer standing, even if one call in a hundred has a false delay of ten seconds."""
    delay = QueueDelay([0.01, 0.02, 0.1])
    for number in range(200):
        assert delay.observe(0.15, 10 + number / 1000) == [number >= 100] * 3

    for number in range(300):
        standing = delay.observe(10.0 if number % 100 == 0 else 0.0, 10.2 + number / 1000)

    assert standing == [False] * 3


def test_late_calls_after_a_pause_are_no_standing_queue() -> None:
    """After a pause of the machine, late calls are no standing queue."""
    delay = QueueDelay([TARGET_S])
    for number in range(20):
        delay.observe(0.05, 10 + number / 100)

    assert delay.observe(1.5, 12.0) == [False]
    assert delay.observe(1.4, 12.05) == [False]


def test_calls_with_unknown_delay_make_no_standing_queue() -> None:
    """A queue is no longer standing after an interval without calls of known delay."""
    delay = QueueDelay([TARGET_S])
    for number in range(20):
        delay.observe(0.05, 10 + number / 100)
    standing = [delay.standing_at(10.2 + number / 100)[0] for number in range(40)]

    assert standing[0]
    assert not any(standing[30:])


def test_each_target_has_its_own_state() -> None:
    """Each target has its own standing queue, so that less critical calls are shed at shorter delays."""
    delay = QueueDelay([0.01, 0.02, 0.1])
    for number in range(20):
        standing = delay.observe(0.015, 10 + number / 100)

    assert standing == [True, False, False]


@given(st.lists(st.tuples(st.floats(0, 0.0199), st.floats(0, 0.5)), max_size=200))
def test_delays_below_the_target_are_no_standing_queue(calls: list[tuple[float, float]]) -> None:
    """Calls with delays below the target make no standing queue, for any number and pauses."""
    delay, now_s = QueueDelay([TARGET_S]), 5.0
    for delay_s, pause_s in calls:
        now_s += pause_s
        assert delay.observe(delay_s, now_s) == [False]
