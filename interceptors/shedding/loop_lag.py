"""Event-loop lag: delay of due callbacks, and whether the loop is busy."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PERIOD_S = 0.02
# The loop is busy if its thread used more than this share of processor time. It is also busy if the delay, or TURNS
# turns of the loop, took longer than BUSY_TURNS_S. A turn of an idle loop takes microseconds, and a blocked turn needs
# no processor time.
BUSY_SHARE = 0.5
TURNS = 5
BUSY_TURNS_S = 0.005
# A single sample may fall between two handlers.
SAMPLES = 5


class LoopLag:
    """Sampler of the event loop: one sample every 20 ms while calls request it.

    Without calls nothing is sampled, so an idle process stays asleep. `lag_s` is the delay at the end of the last
    period. `is_busy` is whether the loop was busy in that period or one of the four before.
    """

    def __init__(
        self, now: Callable[[], float] = time.monotonic, cpu_s: Callable[[], float] = time.thread_time
    ) -> None:
        self.lag_s = 0.0
        self.is_busy = False
        self.is_sampling = False
        self._now = now
        self._cpu_s = cpu_s
        self._is_wanted = False
        self._busy_samples = 0
        self._began_s = 0.0
        self._cpu_began_s = 0.0

    def keep_sampling(self) -> None:
        """Sample for at least one more period. Must be called from the loop."""
        self._is_wanted = True
        if not self.is_sampling:
            self.is_sampling = True
            self._begin()

    def _begin(self) -> None:
        self._is_wanted = False
        self._began_s = self._now()
        self._cpu_began_s = self._cpu_s()
        asyncio.get_running_loop().call_later(PERIOD_S, self._end)

    def _end(self) -> None:
        ended_s = self._now()
        self._turn(ended_s, ended_s - self._began_s, self._cpu_s() - self._cpu_began_s, TURNS)

    def _turn(self, ended_s: float, elapsed_s: float, cpu_s: float, turns: int) -> None:
        if turns > 0:
            asyncio.get_running_loop().call_soon(self._turn, ended_s, elapsed_s, cpu_s, turns - 1)
            return
        self.add_sample(elapsed_s, cpu_s, self._now() - ended_s)
        if self._is_wanted:
            self._begin()
        else:
            self.is_sampling = self.is_busy = False
            self._busy_samples, self.lag_s = 0, 0.0

    def add_sample(self, elapsed_s: float, cpu_s: float, turns_s: float) -> None:
        """Add one sample: seconds of the period, processor seconds of the thread in it, and seconds of the turns."""
        self.lag_s = max(0.0, elapsed_s - PERIOD_S)
        was_busy = cpu_s > BUSY_SHARE * elapsed_s or max(self.lag_s, turns_s) > BUSY_TURNS_S
        self._busy_samples = SAMPLES if was_busy else max(0, self._busy_samples - 1)
        self.is_busy = self._busy_samples > 0
