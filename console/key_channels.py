"""Channels of the callers of the console, one set per API key."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from mesh.serving.channel import Channels

# Each key has up to one connection to each service.
MAX_KEYS = 16
# Calls that still use the channels of a key may run this long after other keys have taken its place.
CLOSING_GRACE_S = 60.0


class KeyChannels:
    """Channels by API key, which `open_channels` opens. At most `most` keys have open channels.

    If there are more, the channels of the key with the oldest use are closed. Their running calls may end first, for
    at most a minute.
    """

    def __init__(self, open_channels: Callable[[str], Channels], most: int = MAX_KEYS) -> None:
        self._open = open_channels
        self._most = most
        # In the order of the last uses.
        self._by_key: dict[str, Channels] = {}
        self._closing: dict[asyncio.Task[None], Channels] = {}

    def of(self, key: str) -> Channels:
        """Return the channels of a key."""
        channels = self._by_key.pop(key, None)
        if channels is None:
            channels = self._open(key)
        self._by_key[key] = channels
        while len(self._by_key) > self._most:
            self._retire(self._by_key.pop(next(iter(self._by_key))))
        return channels

    def _retire(self, channels: Channels) -> None:
        task = asyncio.get_running_loop().create_task(channels.close(CLOSING_GRACE_S))
        self._closing[task] = channels
        task.add_done_callback(self._closing.pop)

    async def close(self) -> None:
        """Close all channels at once, also those that wait for their calls."""
        for task in tuple(self._closing):
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        for channels in self._by_key.values():
            await channels.close()
