"""Number and duration of the measurements in one run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Effort:
    """Numbers of rounds over all rows, and seconds per window.

    With `profile_s` 0, nothing is profiled. `starts` is the number of new meshes.
    """

    rounds: int
    warm_up_s: float
    window_s: float
    latency_rounds: int
    latency_window_s: float
    client_rounds: int
    client_window_s: float
    policy_rounds: int
    policy_calls: int
    profile_s: float
    starts: int


FULL = Effort(
    rounds=11,
    warm_up_s=0.3,
    window_s=0.8,
    latency_rounds=3,
    latency_window_s=1.0,
    client_rounds=9,
    client_window_s=1.0,
    policy_rounds=15,
    policy_calls=2000,
    profile_s=6.0,
    starts=5,
)
QUICK = Effort(
    rounds=5,
    warm_up_s=0.1,
    window_s=0.2,
    latency_rounds=1,
    latency_window_s=0.2,
    client_rounds=5,
    client_window_s=0.3,
    policy_rounds=5,
    policy_calls=200,
    profile_s=0,
    starts=2,
)
