"""Upkeep: what a service does beside its calls, at once and then again and again; no failure ends it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from contracts.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from mesh.database import Database

DELETED_AT_ONCE = 1000
# A library may lose a cancellation: the broker's client does when a message comes at the same moment.
CANCEL_AGAIN_S = 1.0

_log = structlog.stdlib.get_logger("solo60.upkeep")


@asynccontextmanager
async def repeating(what: str, work: Callable[[], Awaitable[object]], interval_s: float) -> AsyncIterator[None]:
    """Do `work` at once, and again after each pause of so many seconds, for the time of the context.

    What it raises is logged under `what` it is, and the next time is another chance.
    """
    repeated = asyncio.create_task(_repeat(what, work, interval_s))
    try:
        yield
    finally:
        while not repeated.done():
            repeated.cancel()
            await asyncio.wait([repeated], timeout=CANCEL_AGAIN_S)


async def delete_in_batches(database: Database, statement: str, *arguments: object) -> int:
    """Delete until nothing is left that `statement` finds, and return how many rows that were.

    `statement` deletes at most as many rows as its last parameter says, which follows after `arguments`: a batch holds
    no lock for long.
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
        except ServiceError as error:  # an outage: it needs no traceback each time
            _log.warning("upkeep failed", what=what, error=repr(error))
        except Exception:  # noqa: BLE001 - whatever it is
            _log.exception("upkeep failed", what=what)
        await asyncio.sleep(interval_s)
