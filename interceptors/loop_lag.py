"""Event-loop lag: how late the loop runs what is due, and whether it is busy at all."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PERIOD_S = 0.02
# Of a period, the share of processor time from which on the loop is taken to have had no rest; or else a lag, where the
# machine gives the processor to others.
BUSY_SHARE = 0.5
BUSY_LAG_S = 0.005


class LoopLag:
    """Samples the event loop every 20 ms, for as long as it is asked to; without calls, an idle process stays asleep.

    Of the last period, `lag_s` is how late its end came, and `is_busy` whether the loop had hardly any rest in it.
    """

    def __init__(
        self, now: Callable[[], float] = time.monotonic, processor_s: Callable[[], float] = time.thread_time
    ) -> None:
        self.lag_s = 0.0
        self.is_busy = False
        self.is_sampling = False
        self._now = now
        self._processor_s = processor_s
        self._is_wanted = False
        self._began_s = 0.0
        self._processor_began_s = 0.0

    def keep_sampling(self) -> None:
        """Sample for another period at least; to be called from the loop."""
        self._is_wanted = True
        if not self.is_sampling:
            self.is_sampling = True
            self._begin()

    def _begin(self) -> None:
        self._is_wanted = False
        self._began_s = self._now()
        self._processor_began_s = self._processor_s()
        asyncio.get_running_loop().call_later(PERIOD_S, self._end)

    def _end(self) -> None:
        self.take(self._now() - self._began_s, self._processor_s() - self._processor_began_s)
        if self._is_wanted:
            self._begin()
        else:
            self.is_sampling = self.is_busy = False
            self.lag_s = 0.0

    def take(self, elapsed_s: float, processor_s: float) -> None:
        """Take in one sample: how long a period lasted, and for how much of it the loop's thread was running."""
        self.lag_s = max(0.0, elapsed_s - PERIOD_S)
        self.is_busy = processor_s > BUSY_SHARE * elapsed_s or self.lag_s > BUSY_LAG_S
