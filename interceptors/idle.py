"""Idle timeout for streams: a stream ends if no message passes for the time that the contract allows."""

from __future__ import annotations

import asyncio
import math
import time
from functools import partial
from typing import TYPE_CHECKING

from contracts.errors import DeadlineExceeded
from interceptors.chain.server import ServerInterceptor

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    from contracts.method import Method
    from interceptors.chain.call import Call, Proceed


class ServerIdle(ServerInterceptor):
    """Server interceptor that ends a stream with DEADLINE_EXCEEDED after `idle_timeout` without a message.

    A message passes when the handler takes a request, or gives a response and gRPC has room for it. A caller that reads
    slowly becomes idle only when gRPC's buffers are full. Such a caller may still read the buffered messages after the
    handler has ended. A handler that neither reads nor writes is ended too. `ServerDeadline` limits the total duration
    of a stream. `factor` multiplies the timeout. Only the server enforces the timeout; a caller relies on its deadline.

    >>> call_echo(ServerIdle())  # a unary call is never idle
    'hi'
    """

    def __init__(self, factor: float = 1.0, now: Callable[[], float] = time.monotonic) -> None:
        self._factor = factor
        self._now = now
        # Times of the last messages, by the id of the stream's call.
        self._last_message_at: dict[int, float] = {}

    def applies_to(self, method: Method) -> bool:
        return (method.request_streaming or method.response_streaming) and math.isfinite(method.policy.idle_s)

    async def intercept(self, call: Call, proceed: Proceed) -> bytes | None:
        idle_s = call.method.policy.idle_s * self._factor
        self._last_message_at[id(call)] = self._now()
        try:
            async with asyncio.timeout(None) as limit:
                timer = _IdleTimer(partial(self._left_s, call, idle_s), limit, idle_s)
                try:
                    return await proceed(call)
                finally:
                    timer.stop()
        except TimeoutError as error:
            if not limit.expired():  # the handler's own timeout, not this one
                raise
            raise DeadlineExceeded(f"{call.method.full_name} was idle for {idle_s:.3g} s.") from error
        finally:
            del self._last_message_at[id(call)]

    def on_request(self, call: Call, message: Message) -> None:  # noqa: ARG002 - only its time matters
        self._last_message_at[id(call)] = self._now()

    def on_response(self, call: Call, message: Message) -> None:  # noqa: ARG002 - only its time matters
        self._last_message_at[id(call)] = self._now()

    def _left_s(self, call: Call, idle_s: float) -> float:
        return self._last_message_at[id(call)] + idle_s - self._now()


class _IdleTimer:
    """Single timer of a stream: a message only stores the time, and the timer checks it when it fires."""

    def __init__(self, left_s: Callable[[], float], limit: asyncio.Timeout, idle_s: float) -> None:
        self._left_s = left_s
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(idle_s, self._check)

    def stop(self) -> None:
        """Cancel the timer."""
        self._timer.cancel()

    def _check(self) -> None:
        left_s = self._left_s()
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._check)
        else:
            self._limit.reschedule(self._loop.time())
