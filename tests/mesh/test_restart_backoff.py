from __future__ import annotations

from mesh.restart_backoff import RestartBackoff


def test_each_pause_is_twice_as_long_up_to_half_a_minute() -> None:
    """A process that dies at once each time must not overload the machine."""
    backoff = RestartBackoff()

    assert [backoff.pause_s(ran_for_s=0.5) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]


def test_a_part_that_ran_for_a_minute_is_forgiven() -> None:
    """Its next death is no longer one of a series."""
    backoff = RestartBackoff()
    for _ in range(5):
        backoff.pause_s(ran_for_s=0.5)

    assert [backoff.pause_s(ran_for_s=60), backoff.pause_s(ran_for_s=0.5)] == [1, 2]
