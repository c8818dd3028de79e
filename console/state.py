"""State of the console's process: everything that its pages read."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from console.sessions import Sessions
from interceptors import Breakers
from interceptors.breaker.circuit import Limits
from local.keys import OPERATOR
from local.movable_clock import clock_of_mesh
from mesh.config import SettingsError
from mesh.serving.channel import Channels
from mesh.serving.key_channels import KeyChannels
from mesh.serving.keyring_file import accepted_keys, own_key
from operations.health.now import NowReader
from operations.health.report import health_of_mesh
from operations.keys import keys_of
from operations.logs.tail import LogTail
from operations.metrics.reader import INTERVAL_S, TrafficReader
from operations.outbox.backlog import states_of_all
from operations.snapshot import Snapshot
from operations.traces.reader import TraceReader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from console.sessions import Reader
    from interceptors.keys.keyring import KeyRecord
    from mesh.config import Settings

# A page opens within 2.5 s, also if it asks a frozen service twice, one time after the other.
LONGEST_READ_S = 1.0
# The console asks each service once per interval, which is a small load. After an outage, its readers should not wait a
# minute until the breaker of a method that all services have closes.
BREAKER_LIMITS = Limits(open_s=1.0, max_open_s=2.0)
SPANS_INTERVAL_S = 1.0
OUTBOX_INTERVAL_S = 2.0
KEYS_INTERVAL_S = 2.0
NOW_INTERVAL_S = 1.0
# Live pages ask every 2 s. With the same interval here, a single viewer would get every second value.
HEALTH_INTERVAL_S = 1.9
TRAFFIC_INTERVAL_S = INTERVAL_S - 0.1


class Console:
    """Everything that pages read.

    `channels` use the console's own key, `channels_of` the key of a reader, and `channels_of_key` the key of a
    caller of the API. A snapshot such as `health` is read once for all readers, and only while a page needs it. A
    call with the console's own key takes at most LONGEST_READ_S.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.sessions = Sessions(port=settings.console_listen_address.rpartition(":")[2])
        breakers = Breakers(limits=BREAKER_LIMITS)
        self.channels = Channels(settings, own_key(settings), breakers, longest_call_s=LONGEST_READ_S)
        self.health = Snapshot(lambda: health_of_mesh(settings), HEALTH_INTERVAL_S)
        self.traces = TraceReader(settings.local_span_dir)
        self.new_spans = Snapshot(lambda: asyncio.to_thread(self.traces.update), SPANS_INTERVAL_S)
        self.outboxes = Snapshot(lambda: states_of_all(self.channels), OUTBOX_INTERVAL_S)
        self.keys = Snapshot(lambda: asyncio.to_thread(keys_of, settings), KEYS_INTERVAL_S)
        self.logs = LogTail(settings.log_folder)
        self._now_reader = NowReader(settings, self.channels, self.health.get)
        self.now_page = Snapshot(self._now_reader.read, NOW_INTERVAL_S)
        self.traffic = Snapshot(TrafficReader(settings).read, TRAFFIC_INTERVAL_S)
        self._keyring = accepted_keys(settings)
        self._key_channels = KeyChannels(lambda key: Channels(settings, lambda: key, self.channels.breakers))

    def record_of(self, key: str) -> KeyRecord | None:
        """Return the record of a valid key, or None."""
        return self._keyring().find(key, self.now())

    def is_valid(self, key: str) -> bool:
        """Return whether a key is valid now."""
        return self.record_of(key) is not None

    def now(self) -> datetime:
        """Return the current time of the mesh, which a movable clock may have moved."""
        return clock_of_mesh(self.settings).now()

    def channels_of(self, reader: Reader) -> Channels:
        """Return channels with the reader's key; raise SettingsError for a reader without one."""
        key = reader.key.get_secret_value()
        if not key:
            raise SettingsError("Sign in with an API key first.")
        return self.channels_of_key(key)

    def channels_of_key(self, key: str) -> Channels:
        """Return channels with a key, which the caller has verified."""
        return self._key_channels.of(key)

    def operator_key_file(self) -> str:
        """Return the path of the operator's key in a local mesh, or "" if there is none."""
        path = self.settings.key_path_of(OPERATOR)
        return str(path.absolute()) if path.exists() else ""

    async def close(self) -> None:
        """Stop reading and close all channels."""
        await self.now_page.close()
        await self.health.close()
        await asyncio.to_thread(self.traces.close)
        await self.new_spans.close()
        await self.outboxes.close()
        await self.keys.close()
        await self.logs.close()
        self._now_reader.close()
        await self.traffic.close()
        await self._key_channels.close()
        await self.channels.close()


@asynccontextmanager
async def open_console(settings: Settings) -> AsyncIterator[Console]:
    """Yield the state of a console, which is closed at the end of the context.

    Raises SettingsError if the console lacks a key or a keyring.
    """
    console = Console(settings)
    # Reading all stored spans takes a second, so it begins before the first page of traces is opened.
    console.new_spans.begin()
    try:
        yield console
    finally:
        await console.close()
