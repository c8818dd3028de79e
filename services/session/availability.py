"""Availability: whoever watches a gym is woken when its booked periods may have changed, and let go when we stop."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import UUID

from contracts.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

# As the trigger in the database has it; the payload is the id of the gym.
CHANNEL = "availability"


class Watcher:
    """One who watches a gym."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self._is_over = False

    async def change(self) -> None:
        """Wait until something may have changed since the last time; raise Unavailable once it has been let go."""
        await self._changed.wait()
        self._changed.clear()
        if self._is_over:
            raise Unavailable("This instance of the service stops. Open the watch again.")

    def wake(self) -> None:
        """Let the watcher look again."""
        self._changed.set()

    def end(self) -> None:
        """Let the watcher go."""
        self._is_over = True
        self._changed.set()


class Availability:
    """All watchers of this process, by gym."""

    def __init__(self) -> None:
        self._watchers: defaultdict[UUID, set[Watcher]] = defaultdict(set)
        self._is_over = False

    @contextmanager
    def watching(self, gym_id: UUID) -> Iterator[Watcher]:
        """Add a watcher for the time of the context."""
        watcher = Watcher()
        if self._is_over:
            watcher.end()
        self._watchers[gym_id].add(watcher)
        try:
            yield watcher
        finally:
            self._watchers[gym_id].discard(watcher)
            if not self._watchers[gym_id]:
                del self._watchers[gym_id]

    def hear(self, gym_id: str) -> None:
        """Wake those who watch a gym."""
        for watcher in self._watchers.get(UUID(gym_id), ()):
            watcher.wake()

    def wake_all(self) -> None:
        """Wake everybody: changes may have gone unheard."""
        for watcher in self._all():
            watcher.wake()

    async def end_with(self, stopping: asyncio.Event) -> None:
        """Wait for `stopping`, then let everybody go, and those who come later at once."""
        await stopping.wait()
        self._is_over = True
        for watcher in self._all():
            watcher.end()

    def _all(self) -> Iterator[Watcher]:
        return (watcher for watchers in self._watchers.values() for watcher in watchers)
