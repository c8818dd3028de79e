"""Waiting for conditions outside the test's own tasks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

TIMEOUT_S = 60.0


async def eventually(condition: Callable[[], bool | Awaitable[bool]], timeout_s: float = TIMEOUT_S) -> None:
    """Wait until `condition()` is true; raise TimeoutError after `timeout_s`."""
    async with asyncio.timeout(timeout_s):
        while not await _is_true(condition):  # noqa: ASYNC110 - conditions depend on databases, folders and processes
            await asyncio.sleep(0.02)


async def _is_true(condition: Callable[[], bool | Awaitable[bool]]) -> bool:
    result = condition()
    return result if isinstance(result, bool) else await result
