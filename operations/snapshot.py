"""Snapshot: one value that is read at an interval for any number of readers, and only while somebody reads it."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

from mesh.telemetry.untraced import untraced

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Value = TypeVar("Value")


class Snapshot(Generic[Value]):
    """Latest value of `read`, at most `interval_s` old. Concurrent callers of `get` share one read.

    So the source is read at most once per interval for any number of readers, and never without readers. The calls of
    `read` are not traced.
    """

    def __init__(self, read: Callable[[], Awaitable[Value]], interval_s: float) -> None:
        self._read = read
        self._interval_s = interval_s
        self._reading: asyncio.Task[Value] | None = None
        self._read_at_s = -float("inf")

    async def get(self) -> Value:
        """Return the value; raise the error of `read` if the last read failed."""
        # A reader that leaves must not cancel the read of the others.
        return await asyncio.shield(self.begin())

    def begin(self) -> asyncio.Task[Value]:
        """Begin a read if the value is too old; return the task of the latest read without waiting for it."""
        task = self._reading
        if task is None or (task.done() and time.monotonic() - self._read_at_s > self._interval_s):
            task = self._reading = asyncio.ensure_future(self._read_untraced())
            task.add_done_callback(self._note_end)
        return task

    async def _read_untraced(self) -> Value:
        with untraced():
            return await self._read()

    def expire(self) -> None:
        """Make the next `get` read again, also if a read is running that may have begun before a change."""
        self._reading = None

    def _note_end(self, task: asyncio.Future[Value]) -> None:
        self._read_at_s = time.monotonic()
        if not task.cancelled():
            task.exception()  # marks it as retrieved: `get` raises it, if anybody still waits

    async def close(self) -> None:
        """Cancel a running read."""
        if self._reading is not None:
            self._reading.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._reading
