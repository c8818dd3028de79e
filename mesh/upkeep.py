"""Periodic background work of a service, which continues after any failure."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from contracts.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from mesh.data.database import Database

DELETED_AT_ONCE = 1000

_log = structlog.stdlib.get_logger("solo60.upkeep")


@asynccontextmanager
async def repeating(what: str, work: Callable[[], Awaitable[object]], interval_s: float) -> AsyncIterator[None]:
    """Run `work` at once and again after each pause of `interval_s` seconds while the context is open.

    Exceptions are logged with the name `what`, and `work` runs again after the next pause.
    """
    repeated = asyncio.create_task(_repeat(what, work, interval_s))
    try:
        yield
    finally:
        repeated.cancel()
        await asyncio.wait([repeated])


async def delete_in_batches(database: Database, statement: str, *arguments: object) -> int:
    """Run a delete `statement` until it finds no more rows, and return the number of deleted rows.

    The last parameter of `statement` limits its rows and is added after `arguments`. Small batches hold no lock for
    long.
    """
    deleted = 0
    while True:
        async with database.transaction() as connection:
            status = await connection.execute(statement, *arguments, DELETED_AT_ONCE)
        count = int(status.removeprefix("DELETE "))
        deleted += count
        if count < DELETED_AT_ONCE:
            return deleted


async def _repeat(what: str, work: Callable[[], Awaitable[object]], interval_s: float) -> None:
    while True:
        try:
            await work()
        except ServiceError as error:  # an outage, which needs no traceback at every repetition
            _log.warning("upkeep failed", what=what, error=repr(error))
        except Exception:  # noqa: BLE001 - no failure may end the loop
            _log.exception("upkeep failed", what=what)
        await asyncio.sleep(interval_s)
