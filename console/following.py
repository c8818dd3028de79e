"""Following: a view that is read again for a few seconds after an action, until the effect shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nicegui import ui

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

INTERVAL_S = 0.5


class Following:
    """Calls `read` twice a second, for `seconds` after each `begin`."""

    def __init__(self, read: Callable[[], Awaitable[None]], seconds: float) -> None:
        self._read = read
        self._reads = round(seconds / INTERVAL_S)
        self._reads_left = 0
        self._timer = ui.timer(INTERVAL_S, self._follow, active=False)

    def begin(self) -> None:
        """Begin, or begin anew."""
        self._reads_left = self._reads
        self._timer.activate()

    def end(self) -> None:
        """Stop before the time is over."""
        self._timer.deactivate()

    async def _follow(self) -> None:
        self._reads_left -= 1
        if self._reads_left <= 0:
            self.end()
        await self._read()
