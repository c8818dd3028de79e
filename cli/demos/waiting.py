"""Waiting for a result, and for an expected error."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

from cli.terminal import CommandError
from contracts.errors import CircuitOpen, DeadlineExceeded, ServiceError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

TIMEOUT_S = 15.0
POLL_INTERVAL_S = 0.02

T = TypeVar("T")
E = TypeVar("E", bound=ServiceError)


async def until(
    read: Callable[[], Awaitable[T]], is_complete: Callable[[T], bool], expected: str, timeout_s: float = TIMEOUT_S
) -> T:
    """Poll `read` and return the first complete result; raise CommandError after `timeout_s` seconds."""
    give_up_at = time.monotonic() + timeout_s
    while not is_complete(found := await read()):
        if time.monotonic() > give_up_at:
            raise CommandError(f"Timed out after {timeout_s:.0f} s waiting for {expected}.")
        await asyncio.sleep(POLL_INTERVAL_S)
    return found


async def once_available(call: Callable[[], Awaitable[T]], timeout_s: float = TIMEOUT_S) -> T:
    """Repeat a call while a service that it needs cannot be reached; raise its error after `timeout_s` seconds."""
    give_up_at = time.monotonic() + timeout_s
    while True:
        try:
            return await call()
        except (CircuitOpen, DeadlineExceeded, Unavailable):
            if time.monotonic() > give_up_at:
                raise
        await asyncio.sleep(POLL_INTERVAL_S)


async def refusal(call: Awaitable[object], expected: type[E]) -> E:
    """Await a call and return its expected error; raise CommandError if the call succeeds."""
    try:
        await call
    except expected as error:
        return error
    raise CommandError(f"A call succeeded that should have failed with {expected.__name__}.")
