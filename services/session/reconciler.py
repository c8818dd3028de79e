"""Reconciler: what time alone decides about sessions: a hold that nobody confirmed ends, and so does a session itself.

So it does not matter where the process that was booking died: the slot is free again when its hold is over, and what
the member may have paid for it goes back. Any number of reconcilers may do this at the same time.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime

    from services.session.store import SessionStore

INTERVAL_S = 1.0

_log = structlog.stdlib.get_logger("solo60.session.reconciler")


@asynccontextmanager
async def reconciling(store: SessionStore, now: Callable[[], datetime]) -> AsyncIterator[None]:
    """Release expired holds and complete past sessions every second, for the time of the context."""
    task = asyncio.create_task(_reconcile_for_ever(store, now))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _reconcile_for_ever(store: SessionStore, now: Callable[[], datetime]) -> None:
    while True:
        try:
            await store.release_expired(now())
            await store.complete_past(now())
        except Exception as error:  # noqa: BLE001 - an outage must not end the looking
            _log.warning("cannot look for what is over", error=type(error).__name__)
        await asyncio.sleep(INTERVAL_S)
