from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from interceptors.queue_delay import QueueDelay

TARGET_S = 0.02


def observed(delays_ms: list[int], pause_s: float = 0.01) -> list[bool]:
    """Return whether the queue stands as each of these calls comes in, one after each pause."""
    delay = QueueDelay([TARGET_S])
    return [delay.observe(ms / 1000, 10 + number * pause_s)[0] for number, ms in enumerate(delays_ms)]


def test_a_burst_is_no_standing_queue() -> None:
    """One call that did not wait shows that the queue was empty in between."""
    assert not any(observed(([50] * 7 + [1]) * 20))


def test_a_queue_stands_when_all_have_waited_for_an_interval() -> None:
    """Not before an interval is over, and then at once."""
    stands = observed([25] * 30)

    assert stands.index(True) == 10
    assert all(stands[10:])


def test_it_stands_while_it_is_held_at_the_target() -> None:
    """Where refusing keeps the delay at the target, to admit all again would make it grow anew."""
    stands = observed([25] * 15 + [15, 22] * 50)

    assert all(stands[10:])


def test_it_heals_when_calls_wait_for_less_than_half_of_the_target() -> None:
    """Within two intervals, and one late call more or less does not count."""
    stands = observed([25] * 15 + [5] * 19 + [30] + [5] * 20)

    assert stands[14]
    assert not any(stands[36:])


def test_a_call_that_lies_of_its_wait_keeps_no_queue_standing() -> None:
    """A stranger can say that a call has waited for ten seconds; among a hundred others it counts for little."""
    delay = QueueDelay([0.01, 0.02, 0.1])
    for number in range(200):
        assert delay.observe(0.15, 10 + number / 1000) == [number >= 100] * 3

    for number in range(300):
        stands = delay.observe(10.0 if number % 100 == 0 else 0.0, 10.2 + number / 1000)

    assert stands == [False] * 3


def test_after_a_pause_nothing_stands() -> None:
    """A machine that stood still for a while has late calls, and no queue."""
    delay = QueueDelay([TARGET_S])
    for number in range(20):
        delay.observe(0.05, 10 + number / 100)

    assert delay.observe(1.5, 12.0) == [False]
    assert delay.observe(1.4, 12.05) == [False]


def test_calls_of_unknown_wait_do_not_keep_it_standing() -> None:
    """Where no caller says any more how long its call has waited, nothing is known to stand."""
    delay = QueueDelay([TARGET_S])
    for number in range(20):
        delay.observe(0.05, 10 + number / 100)
    stands = [delay.at(10.2 + number / 100)[0] for number in range(40)]

    assert stands[0]
    assert not any(stands[30:])


def test_each_target_stands_for_itself() -> None:
    """The least critical is given up at less delay."""
    delay = QueueDelay([0.01, 0.02, 0.1])
    for number in range(20):
        stands = delay.observe(0.015, 10 + number / 100)

    assert stands == [True, False, False]


@given(st.lists(st.tuples(st.floats(0, 0.0199), st.floats(0, 0.5)), max_size=200))
def test_calls_that_wait_for_less_than_the_target_are_never_too_many(calls: list[tuple[float, float]]) -> None:
    """Whatever their number and pauses."""
    delay, now_s = QueueDelay([TARGET_S]), 5.0
    for delay_s, pause_s in calls:
        now_s += pause_s
        assert delay.observe(delay_s, now_s) == [False]
