"""Idle timeout for streams: a stream ends if no message passes for the time that the contract allows."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING

from contracts.errors import DeadlineExceeded
from interceptors.chain.server import Call, ServerInterceptor

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    from contracts.method import Method
    from interceptors.chain.server import Proceed


class ServerIdle(ServerInterceptor):
    """Server interceptor that ends a stream with DEADLINE_EXCEEDED after `idle_timeout` without a message.

    A message passes when the handler takes a request, or gives a response and gRPC has room for it. A caller that reads
    slowly becomes idle only when gRPC's buffers are full. It may still read the buffered messages after the handler has
    ended. A handler that neither reads nor writes is ended too. `ServerDeadline` limits the total duration of a stream.
    `factor` multiplies the timeout. Only the server enforces it; a caller relies on its deadline.

    >>> call_echo(ServerIdle())  # a unary call is never idle
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

    def on_request(self, call: Call, message: Message) -> None:  # noqa: ARG002 - only its time matters
        call.last_message_at = self._now()

    def on_response(self, call: Call, message: Message) -> None:  # noqa: ARG002 - only its time matters
        call.last_message_at = self._now()


class _Watch:
    """Single timer of a stream: a message only stores the time, and the timer checks it when it fires."""

    def __init__(self, call: Call, limit: asyncio.Timeout, idle_s: float, now: Callable[[], float]) -> None:
        self._call = call
        self._limit = limit
        self._idle_s = idle_s
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(idle_s, self._look)

    def stop(self) -> None:
        """Cancel the timer."""
        self._timer.cancel()

    def _look(self) -> None:
        left_s = self._call.last_message_at + self._idle_s - self._now()
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._look)
        else:
            self._limit.reschedule(self._loop.time())
