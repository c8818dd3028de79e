"""Load shedding: calls that cannot finish in time are rejected early, the least critical first.

Calls wait in three places, each with its own signal:

- Queue delay: the timeout that the caller sent (`x-timeout-ms`) minus the time left on arrival. If the event loop is
  not busy, the delay is not caused by this server and is ignored.
- Lag of the event loop: waiting inside the process.
- Concurrency: waiting inside a handler, for a database or another service. The latency of each method shows how many
  calls in flight are too many.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from contextvars import Context
from typing import TYPE_CHECKING, NoReturn

import structlog

from contracts.errors import DeadlineExceeded, Overloaded
from interceptors.chain.metadata import PREVIOUS_ATTEMPTS
from interceptors.chain.server import ServerInterceptor
from interceptors.criticality import CRITICALITY, criticality_of
from interceptors.deadline.interceptor import TIMEOUT_MS
from interceptors.shedding.gradient import MIN_LIMIT, Gradient
from interceptors.shedding.loop_lag import LoopLag
from interceptors.shedding.queue_delay import INTERVAL_S, QueueDelay

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from contracts.method import Method
    from contracts.policy import Criticality
    from interceptors.chain.call import Call, Finish, Start

QUEUE_DELAY_S = 0.02
# gRPC's core rounds longer timeouts up by more than the delays measured here.
MAX_EXACT_TIMEOUT_S = 10.0
# Factors for SHEDDABLE, NORMAL and CRITICAL calls (levels 1, 2 and 3). Each factor multiplies two limits: the queue
# delay, and the number of calls of one method in flight.
SHARES = (0.5, 1.0, 5.0)
LOG_PERIOD_S = 1.0

_log = structlog.stdlib.get_logger("solo60.shedding")


class ServerShedding(ServerInterceptor):
    """Server interceptor that rejects calls with Overloaded if all calls waited over `queue_delay_s` for 100 ms.

    The number of calls of one method in flight is limited too (`interceptors.shedding.gradient`). The limit is at least
    `min_concurrency`, or a quarter of it while calls run out of time. SHEDDABLE calls are rejected at half of the delay
    and the limit, CRITICAL calls at five times. The error carries a random retry delay of 100 to 300 ms, so that
    callers do not return all at once. Services named in `never_shed`, such as health, are always served. `now` must be
    on the clock of `time.monotonic`, as the times of arrival of calls are.

    Calls rejected here do not reach the access log. Instead, at most one log line a second reports their number.

    >>> call_echo(ServerShedding())
    'hi'
    """

    def __init__(
        self,
        never_shed: Collection[str] = (),
        queue_delay_s: float = QUEUE_DELAY_S,
        min_concurrency: int = MIN_LIMIT,
        *,
        now: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self._never_shed = frozenset(never_shed)
        self._min_concurrency = min_concurrency
        self._targets_s = [share * queue_delay_s for share in SHARES]
        self._now = now
        self._rng = rng or random.Random()  # noqa: S311 - it spreads retries, no secret
        self._queue = QueueDelay(self._targets_s)
        self._loop = LoopLag()
        self._gradients: dict[str, Gradient] = {}
        self._shed: Counter[str] = Counter()
        self._is_logging = False

    def applies_to(self, method: Method) -> bool:
        if method.service in self._never_shed:
            return False
        if not (method.request_streaming or method.response_streaming):  # the caller decides how long a stream lasts
            self._gradients.setdefault(method.path, Gradient(self._min_concurrency))
        return True

    def start_of(self, method: Method) -> Start:
        declared, gradient = method.policy.criticality, self._gradients.get(method.path)
        finish = None if gradient is None else self._finish_of(gradient)

        def start(call: Call) -> Finish | None:
            level = criticality_of(call) if CRITICALITY in call.metadata else declared
            if self._has_waited_too_long(call, level):
                self._reject(level)
            if gradient is None:
                return None
            if gradient.in_flight >= gradient.limit * SHARES[level - 1]:
                self._reject(level)
            gradient.in_flight += 1
            return finish

        return start

    def _finish_of(self, gradient: Gradient) -> Finish:
        def finish(call: Call, error: BaseException | None) -> None:
            began_s = call.began_s
            latency_s = self._now() - began_s
            if error is None:
                gradient.leave(latency_s, began_s)
            elif isinstance(error, (DeadlineExceeded, asyncio.CancelledError)):
                gradient.leave(gradient.latency_if_cancelled(latency_s), began_s, late=call.is_out_of_time())
            else:
                gradient.leave(None, began_s)

        return finish

    def _has_waited_too_long(self, call: Call, level: Criticality) -> bool:
        now_s, loop, queue = self._now(), self._loop, self._queue
        loop.keep_sampling()
        waited_s = waited_before_arrival_s(call)
        if waited_s is None and loop.lag_s < self._targets_s[0]:
            return queue.standing_at(now_s)[level - 1]
        if waited_s is None or not loop.is_busy:  # it waited elsewhere: for a connection, or in a busy caller
            waited_s = 0.0
        delay_s = max(waited_s, loop.lag_s)
        return queue.observe(delay_s, now_s)[level - 1] and delay_s > self._targets_s[level - 1]

    def _reject(self, level: Criticality) -> NoReturn:
        self._shed[level.name.lower()] += 1
        if not self._is_logging:
            self._is_logging = True
            # The line is about many calls, so it carries no correlation id.
            asyncio.get_running_loop().call_soon(self._log_shed, context=Context())
        raise Overloaded(retry_after_s=INTERVAL_S * self._rng.uniform(1, 3))

    def _log_shed(self) -> None:
        self._is_logging = bool(self._shed)
        if self._shed:
            _log.warning("shedding", **self._shed)
            self._shed.clear()
            asyncio.get_running_loop().call_later(LOG_PERIOD_S, self._log_shed, context=Context())


def waited_before_arrival_s(call: Call) -> float | None:
    """Return the time in seconds that a call waited since its caller sent it, or None if the wait is unknown.

    The wait is unknown if the caller sent no valid `x-timeout-ms`, or if gRPC's core sent the call before. The wait is
    also unknown for timeouts over 10 s, which the core rounds too much.
    """
    sent_ms = call.metadata.get(TIMEOUT_MS)
    if sent_ms is None or PREVIOUS_ATTEMPTS in call.metadata:
        return None
    try:
        timeout_s = int(sent_ms) / 1000
    except (ValueError, OverflowError):  # the caller is not authenticated yet
        return None
    if timeout_s > MAX_EXACT_TIMEOUT_S:
        return None
    waited_s = timeout_s - call.remaining_on_arrival_s
    return waited_s if waited_s > 0 else 0.0
