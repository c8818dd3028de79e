"""Health: grpc.health.v1 for the process and for its service, tied to what the service cannot work without (S5)."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import OVERALL_HEALTH, aio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

CHECK_INTERVAL_S = 1.0
# One check may fail because the process is busy, which is no reason for all its callers to leave it.
FAILURES_TO_STOP = 2
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

_log = structlog.stdlib.get_logger("solo60.health")


class Health:
    """What this process says about itself, overall ("") and under the full name of its service."""

    def __init__(self, service: str) -> None:
        self.servicer = aio.HealthServicer()
        self._names = (OVERALL_HEALTH, service)
        self._serving: bool | None = None

    async def say(self, *, serving: bool) -> None:
        """Answer SERVING or NOT_SERVING from now on, and tell those who watch."""
        if serving is self._serving:
            return
        self._serving = serving
        _log.info("health changed", serving=serving)
        for name in self._names:
            await self.servicer.set(name, _SERVING if serving else _NOT_SERVING)

    async def stop_serving(self) -> None:
        """Answer NOT_SERVING for good."""
        await self.servicer.enter_graceful_shutdown()

    @asynccontextmanager
    async def following(self, is_ready: Callable[[], Awaitable[bool]]) -> AsyncIterator[None]:
        """Say SERVING, ask `is_ready` every second, and say what it says, until the context ends.

        Only when it has said no twice in a row does SERVING end.
        """
        await self.say(serving=True)
        following = asyncio.create_task(self._follow(is_ready))
        try:
            yield
        finally:
            following.cancel()
            await asyncio.wait([following])

    async def _follow(self, is_ready: Callable[[], Awaitable[bool]]) -> None:
        failures = 0
        while True:
            await asyncio.sleep(CHECK_INTERVAL_S)
            failures = 0 if await is_ready() else failures + 1
            await self.say(serving=failures < FAILURES_TO_STOP)
