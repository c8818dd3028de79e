"""Pauses before an ended part of a mesh is restarted."""

from __future__ import annotations

FIRST_PAUSE_S = 1.0
MAX_PAUSE_S = 30.0
# After a run of this length, the next pause is the first one again.
STABLE_AFTER_S = 60.0


class RestartBackoff:
    """Pauses of 1 s, doubled at each end up to 30 s, and reset to 1 s after the part ran for a minute.

    >>> backoff = RestartBackoff()
    >>> [backoff.pause_s(ran_for_s=0.5) for _ in range(6)], backoff.pause_s(ran_for_s=60)
    ([1.0, 2.0, 4.0, 8.0, 16.0, 30.0], 1.0)
    """

    def __init__(self) -> None:
        self._next_s = FIRST_PAUSE_S

    def pause_s(self, ran_for_s: float) -> float:
        """Return the pause after an end, and double the next one."""
        pause_s = FIRST_PAUSE_S if ran_for_s >= STABLE_AFTER_S else self._next_s
        self._next_s = min(2 * pause_s, MAX_PAUSE_S)
        return pause_s
