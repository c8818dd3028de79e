"""Reconciler: what time alone decides about sessions: a hold that nobody confirmed ends, and so does a session itself.

A session that begins and was never approved is turned down.

So it does not matter where the process that was booking died: the slot is free again when its hold is over, and what
the member may have paid for it goes back. Any number of reconcilers may do this at the same time.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from mesh.upkeep import repeating

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime

    from services.session.stores import Stores

INTERVAL_S = 1.0


@asynccontextmanager
async def reconciling(stores: Stores, now: Callable[[], datetime]) -> AsyncIterator[None]:
    """Release expired holds, reject what began unapproved and complete what is past, every second of the context."""

    async def reconcile() -> None:
        await stores.sessions.release_expired(now())
        await stores.decisions.reject_unapproved(now())
        await stores.decisions.complete_past(now())

    async with repeating("ending what is over", reconcile, INTERVAL_S):
        yield
