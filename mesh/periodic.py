"""Periodic background work of a service, which continues after any failure."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from contracts.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


# A library can lose a cancellation: nats-py returns a message that arrives at the same moment instead.
CANCEL_AGAIN_S = 1.0

_log = structlog.stdlib.get_logger("solo60.upkeep")


@asynccontextmanager
async def repeating(
    what: str,
    work: Callable[[], Awaitable[object]],
    interval_s: float,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[None]:
    """Run `work` at once and again after each pause of `interval_s` seconds while the context is open.

    Exceptions are logged with the name `what`, and `work` runs again after the next pause. Pass the `sleep` of the
    process's clock if `work` depends on business time.
    """
    repeated = asyncio.create_task(_repeat(what, work, interval_s, sleep))
    try:
        yield
    finally:
        while not repeated.done():
            repeated.cancel()
            await asyncio.wait([repeated], timeout=CANCEL_AGAIN_S)


async def _repeat(
    what: str,
    work: Callable[[], Awaitable[object]],
    interval_s: float,
    sleep: Callable[[float], Awaitable[None]],
) -> None:
    while True:
        try:
            await work()
        except ServiceError as error:  # an outage, which needs no traceback at every repetition
            _log.warning("upkeep failed", what=what, error=repr(error))
        except Exception:  # noqa: BLE001 - no failure may end the loop
            _log.exception("upkeep failed", what=what)
        await sleep(interval_s)
