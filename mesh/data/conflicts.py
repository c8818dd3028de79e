"""Retries of transactions that the database rolled back because of a conflict with another transaction."""

from __future__ import annotations

import asyncio
import random
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import asyncpg

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

P = ParamSpec("P")
T = TypeVar("T")

MAX_RETRIES = 5
BACKOFF_S = 0.01
MAX_BACKOFF_S = 0.5

_CONFLICT_ERRORS = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
_rng = random.SystemRandom()


def retried_on_conflict(work: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Run the decorated function again if its transaction was rolled back because of a conflict.

    A serialization failure (40001) or a deadlock (40P01) is retried up to five times with full jitter, then raised.
    The function must open exactly one transaction and do all its work in it, because a retry repeats everything. So it
    must have no effects except those that a rollback undoes.
    """

    @wraps(work)
    async def retried(*args: P.args, **kwargs: P.kwargs) -> T:
        for retry in range(MAX_RETRIES):
            try:
                return await work(*args, **kwargs)
            except _CONFLICT_ERRORS:
                await asyncio.sleep(_rng.uniform(0, min(MAX_BACKOFF_S, BACKOFF_S * 2**retry)))
        return await work(*args, **kwargs)

    return retried
