"""Watchers of gyms, woken when the booked periods of their gym may have changed.

All watchers end when the process stops.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import UUID

from contracts.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

# Channel of the trigger `sessions_announce_availability`. The payload is the gym id.
CHANNEL = "availability"


class Watcher:
    """One subscriber to the changes of one gym."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self._is_over = False

    async def change(self) -> None:
        """Wait until booked periods may have changed since the last call; raise Unavailable once the watcher ends."""
        await self._changed.wait()
        self._changed.clear()
        if self._is_over:
            raise Unavailable("This instance of the service is shutting down. Open the watch again.")

    def wake(self) -> None:
        """Make the current or next `change()` return."""
        self._changed.set()

    def end(self) -> None:
        """Make the current and every later `change()` raise Unavailable."""
        self._is_over = True
        self._changed.set()


class Watchers:
    """The watchers of this process, by gym."""

    def __init__(self) -> None:
        self._watchers: defaultdict[UUID, set[Watcher]] = defaultdict(set)
        self._is_over = False

    @contextmanager
    def watching(self, gym_id: UUID) -> Iterator[Watcher]:
        """Yield a watcher of a gym and remove it at the end; after `end_with`, the watcher is already ended."""
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

    def wake_gym(self, gym_id: str) -> None:
        """Wake the watchers of one gym."""
        for watcher in self._watchers.get(UUID(gym_id), ()):
            watcher.wake()

    def wake_all(self) -> None:
        """Wake all watchers, because notifications may have been lost while the connection was down."""
        for watcher in self._all():
            watcher.wake()

    async def end_with(self, stopping: asyncio.Event) -> None:
        """Wait for `stopping`, then end all watchers. Watchers added later are ended at once."""
        await stopping.wait()
        self._is_over = True
        for watcher in self._all():
            watcher.end()

    def _all(self) -> Iterator[Watcher]:
        return (watcher for watchers in self._watchers.values() for watcher in watchers)
