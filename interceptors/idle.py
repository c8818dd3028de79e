"""Idle streams: where no message passes for as long as the contract allows, the stream ends."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING

from contracts.errors import DeadlineExceeded
from interceptors.server import Call, ServerInterceptor

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    from contracts.method import Method
    from interceptors.server import Proceed


class ServerIdle(ServerInterceptor):
    """Ends a stream with DEADLINE_EXCEEDED once no message has passed in either direction for the `idle_timeout`.

    A message has passed when the handler takes a request, or gives an answer and gRPC has room for it. So a caller that
    is slow to read is not idle until gRPC's buffers are full, and it may still read what they hold after the handler
    has finished. Nor is a handler kept that neither reads nor writes. A stream lasts no longer than its deadline,
    however busy: that is ServerDeadline's to see to. `factor` counts as it does there. The server alone keeps this
    promise; a caller's own guard is the deadline.

    >>> ask(ServerIdle())  # what is no stream is never idle
    'hi'
    """

    def __init__(self, factor: float = 1.0, now: Callable[[], float] = time.monotonic) -> None:
        self._factor = factor
        self._now = now

    def applies_to(self, method: Method) -> bool:
        return (method.request_streaming or method.response_streaming) and math.isfinite(method.policy.idle_s)

    async def intercept(self, call: Call, proceed: Proceed) -> bytes | None:
        idle_s = call.method.policy.idle_s * self._factor
        call.last_message_at = self._now()
        try:
            async with asyncio.timeout(None) as limit:
                watch = _Watch(call, limit, idle_s, self._now)
                try:
                    return await proceed(call)
                finally:
                    watch.stop()
        except TimeoutError as error:
            if not limit.expired():  # the handler's own timeout, not this one
                raise
            raise DeadlineExceeded(f"{call.method.full_name} was idle for {idle_s:.3g} s.") from error

    def on_request(self, call: Call, message: Message) -> None:  # noqa: ARG002 - that there is one is enough
        call.last_message_at = self._now()

    def on_response(self, call: Call, message: Message) -> None:  # noqa: ARG002 - that there is one is enough
        call.last_message_at = self._now()


class _Watch:
    """One timer for a whole stream: a message only notes the time, and the timer looks at that when it fires."""

    def __init__(self, call: Call, limit: asyncio.Timeout, idle_s: float, now: Callable[[], float]) -> None:
        self._call = call
        self._limit = limit
        self._idle_s = idle_s
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(idle_s, self._look)

    def stop(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def _look(self) -> None:
        left_s = self._call.last_message_at + self._idle_s - self._now()
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._look)
        else:
            self._limit.reschedule(self._loop.time())
