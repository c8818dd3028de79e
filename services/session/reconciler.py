"""Reconciler: what time alone decides about sessions: a hold that nobody confirmed ends, and so does a session itself.

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

    from services.session.store import SessionStore

INTERVAL_S = 1.0


@asynccontextmanager
async def reconciling(store: SessionStore, now: Callable[[], datetime]) -> AsyncIterator[None]:
    """Release expired holds and complete past sessions every second, for the time of the context."""

    async def reconcile() -> None:
        await store.release_expired(now())
        await store.complete_past(now())

    async with repeating("ending what is over", reconcile, INTERVAL_S):
        yield
