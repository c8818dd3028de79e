from __future__ import annotations

from local.restart_backoff import RestartBackoff


def test_pauses_double_up_to_half_a_minute() -> None:
    """Pauses before restarts double from 1 s to at most 30 s, to protect the machine."""
    backoff = RestartBackoff()

    assert [backoff.pause_s(ran_for_s=0.5) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]


def test_pauses_start_over_after_a_run_of_a_minute() -> None:
    """Pauses before restarts start over at 1 s after a part has run for a minute."""
    backoff = RestartBackoff()
    for _ in range(5):
        backoff.pause_s(ran_for_s=0.5)

    assert [backoff.pause_s(ran_for_s=60), backoff.pause_s(ran_for_s=0.5)] == [1, 2]
