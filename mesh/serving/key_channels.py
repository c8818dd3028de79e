"""Channels with the keys of several callers, for a process that passes calls on."""

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

    If there are more, the channels of the key with the oldest use are closed `grace_s` seconds later, so that running
    calls can end.
    """

    def __init__(
        self, open_channels: Callable[[str], Channels], most: int = MAX_KEYS, grace_s: float = CLOSING_GRACE_S
    ) -> None:
        self._open = open_channels
        self._most = most
        self._grace_s = grace_s
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
        task = asyncio.get_running_loop().create_task(self._close_later(channels))
        self._closing[task] = channels
        task.add_done_callback(self._closing.pop)

    async def _close_later(self, channels: Channels) -> None:
        # The grace of gRPC's own `close` cannot be cut short: a second `close` of the channel does nothing.
        await asyncio.sleep(self._grace_s)
        await channels.close()

    async def close(self) -> None:
        """Close all channels at once, and cancel their running calls."""
        closing = dict(self._closing)
        for task in closing:
            task.cancel()
        await asyncio.gather(*closing, return_exceptions=True)
        for channels in (*closing.values(), *self._by_key.values()):
            await channels.close()
