"""Health of a process and its services, served as grpc.health.v1.

Overall health ("") is liveness: SERVING until the process begins to stop. Liveness ignores the database, so that an
orchestrator does not restart a process because of a database. Readiness is reported under the full name of the service,
and callers use it. Other services of the process have the same readiness, or only its liveness if they need no
database.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthServicer

from contracts.errors import RateLimited, Unavailable
from interceptors.peer import host_of
from interceptors.rate_limit.gcra import Gcra

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping

    from interceptors.chain.untyped import AnyContext

LIVENESS = ""
# gRFC A90: a server rejects List if the list is longer than this.
MAX_LIST_ENTRIES = 100
CHECK_INTERVAL_S = 0.5
# A single check may fail because the process is busy, and then its callers must not all switch to other replicas.
FAILURES_UNTIL_NOT_SERVING = 2
# Health checks need no key and are never shed. So each host has a limit, which is enough for its probes and callers.
PROBES_PER_SECOND = 100.0
PROBES_BURST = 200
# A watch lasts as long as its connection and costs memory, so each host has a limit. Each caller needs one watch.
MAX_WATCHES = 1_000
WATCH_RETRY_S = 10.0
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN = health_pb2.HealthCheckResponse.UNKNOWN
# grpc_health's type stubs do not declare it yet.
_List = health_pb2.HealthListResponse  # type: ignore[attr-defined]
# Prefix of the health entries that report circuit breakers that are not closed, one per breaker.
BREAKER_PREFIX = "breaker/"
STATUS_OF_BREAKER = {"open": _NOT_SERVING, "half-open": _UNKNOWN}
# Prefix of the health entries that report dead letters, one per destination.
DEAD_LETTERS_PREFIX = "dead-letters/"
# Prefix of the health entries that report problems in words: "trouble/its database does not answer within 1 s".
TROUBLE_PREFIX = "trouble/"

_log = structlog.stdlib.get_logger("solo60.health")


def _none() -> dict[str, Any]:
    return {}


class Health:
    """Health of this process: overall (""), and under the full name of its service.

    `breakers` returns the state of each circuit breaker by name. Breakers that are not closed are listed as
    "breaker/<name>". `dead_letters` returns the number of dead letters per destination, listed as
    "dead-letters/<destination>". `troubles` returns reasons why the process cannot do its work. Troubles must not hold
    secrets, because every host can read the list.
    """

    def __init__(
        self,
        service: str,
        breakers: Callable[[], Mapping[str, str]] = _none,
        dead_letters: Callable[[], Mapping[str, int]] = _none,
        troubles: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self.servicer = _Servicer(self)
        self._ready_services = {service}
        self._breakers = breakers
        self._dead_letters = dead_letters
        self._troubles = troubles
        self._statuses = {LIVENESS: _SERVING, service: _NOT_SERVING}
        self._is_ready: bool | None = None
        self._is_stopping = False
        self._watches_are_over = False
        self._changed = asyncio.Event()

    def add_services(self, *, ready: Iterable[str], alive: Iterable[str]) -> None:
        """Report services in `ready` with the readiness of this one, and services in `alive` with the liveness."""
        readiness = _SERVING if self._is_ready else _NOT_SERVING
        self._ready_services.update(ready)
        self._statuses.update(dict.fromkeys(ready, readiness))
        self._statuses.update(dict.fromkeys(alive, self._statuses[LIVENESS]))

    async def set_ready(self, *, ready: bool) -> None:
        """Set the readiness of the service, and notify watches."""
        if ready is self._is_ready or self._is_stopping:
            return
        self._is_ready = ready
        _log.info("health changed", serving=ready)
        self._statuses.update(dict.fromkeys(self._ready_services, _SERVING if ready else _NOT_SERVING))
        self._notify_watches()

    async def stop_serving(self) -> None:
        """Report NOT_SERVING from now on, for overall health too."""
        self._is_stopping = True
        self._statuses = dict.fromkeys(self._statuses, _NOT_SERVING)
        self._notify_watches()

    def end_watches(self) -> None:
        """End all watches, because a stopping server would wait for them and they never end by themselves."""
        self._watches_are_over = True
        self._notify_watches()

    def status_of(self, name: str) -> int | None:
        """Return the status of `name`, or None if it is unknown."""
        return self._statuses.get(name)

    def all_statuses(self) -> dict[str, int]:
        """Return all statuses, with entries for breakers that are not closed, dead letters and troubles."""
        states = self._breakers()
        breakers = {
            BREAKER_PREFIX + name: STATUS_OF_BREAKER[state]
            for name, state in states.items()
            if state in STATUS_OF_BREAKER
        }
        dead_letters = {DEAD_LETTERS_PREFIX + destination: _NOT_SERVING for destination in self._dead_letters()}
        troubles = {TROUBLE_PREFIX + trouble: _NOT_SERVING for trouble in self._troubles()}
        return {**self._statuses, **breakers, **dead_letters, **troubles}

    async def watch(self, name: str) -> AsyncIterator[int]:
        """Yield the status of `name` now and after every change; raise Unavailable when watches end."""
        last = None
        while not self._watches_are_over:
            changed = self._changed
            status = self._statuses.get(name, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
            if status != last:
                last = status
                yield status
            await changed.wait()
        raise Unavailable("This instance of the service is stopping.")

    @asynccontextmanager
    async def polling(self, is_ready: Callable[[], Awaitable[bool]]) -> AsyncIterator[None]:
        """Report SERVING, then the result of `is_ready`, which is called twice a second while the context is open.

        SERVING ends only after two negative results in a row.
        """
        await self.set_ready(ready=True)
        polling = asyncio.create_task(self._poll(is_ready))
        try:
            yield
        finally:
            polling.cancel()
            await asyncio.wait([polling])

    async def _poll(self, is_ready: Callable[[], Awaitable[bool]]) -> None:
        failures = 0
        while True:
            await asyncio.sleep(CHECK_INTERVAL_S)
            failures = 0 if await is_ready() else failures + 1
            await self.set_ready(ready=failures < FAILURES_UNTIL_NOT_SERVING)

    def _notify_watches(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class _Servicer(HealthServicer):
    def __init__(self, health: Health) -> None:
        self._health = health
        self._limit = Gcra(PROBES_PER_SECOND, PROBES_BURST)
        self._watches: Counter[str] = Counter()

    async def Check(  # noqa: N802 - as generated
        self,
        request: health_pb2.HealthCheckRequest,
        context: AnyContext,
    ) -> health_pb2.HealthCheckResponse:
        self._admit(context)
        status = self._health.status_of(request.service)
        if status is None:
            _set_status(context, grpc.StatusCode.NOT_FOUND, "Unknown service name.")
        return health_pb2.HealthCheckResponse(status=status)

    async def List(  # noqa: N802 - as generated
        self,
        request: object,  # noqa: ARG002 - as generated
        context: AnyContext,
    ) -> object:
        self._admit(context)
        statuses = self._health.all_statuses()
        if len(statuses) > MAX_LIST_ENTRIES:
            _set_status(
                context, grpc.StatusCode.RESOURCE_EXHAUSTED, f"The list has more than {MAX_LIST_ENTRIES} entries."
            )
        return _List(
            statuses={name: health_pb2.HealthCheckResponse(status=status) for name, status in statuses.items()}
        )

    async def Watch(  # noqa: N802 - as generated
        self,
        request: health_pb2.HealthCheckRequest,
        context: AnyContext,
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        with self._watching(self._admit(context)):
            async for status in self._health.watch(request.service):
                yield health_pb2.HealthCheckResponse(status=status)

    @contextmanager
    def _watching(self, host: str) -> Iterator[None]:
        if self._watches[host] >= MAX_WATCHES:
            raise RateLimited("Too many open watches from one host.", retry_after_s=WATCH_RETRY_S)
        self._watches[host] += 1
        try:
            yield
        finally:
            self._watches[host] -= 1
            if not self._watches[host]:
                del self._watches[host]

    def _admit(self, context: AnyContext) -> str:
        host = host_of(context.peer())
        wait_s = self._limit.admit(host, time.monotonic())
        if wait_s > 0:
            raise RateLimited("Too many health checks from one host.", retry_after_s=wait_s)
        return host


def _set_status(context: AnyContext, code: grpc.StatusCode, sentence: str) -> None:
    """Set a call's final status, for any response. Unlike `abort`, this method preserves the trailing metadata."""
    context.set_code(code)
    context.set_details(sentence)
