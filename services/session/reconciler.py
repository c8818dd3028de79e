"""Reconciler: periodic changes of sessions that depend on time only.

The reconciler releases expired holds, rejects sessions that start without approval, completes ended sessions, and
continues erasures. If a process dies while booking, the slot is therefore freed when the hold expires, and any charge
is refunded. Several reconcilers can run concurrently, because each one skips rows locked by another.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from mesh.periodic import repeating

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mesh.serving.service import Runtime
    from services.session.stores import Stores

INTERVAL_S = 1.0


@asynccontextmanager
async def reconciling(stores: Stores, runtime: Runtime) -> AsyncIterator[None]:
    """Reconcile sessions at once and after every pause of INTERVAL_S seconds, until the context ends."""
    now = runtime.now
    runtime.timers["expired holds"] = stores.bookings.next_expire_time
    runtime.timers["unapproved sessions"] = stores.approvals.next_start_time

    async def reconcile() -> None:
        await stores.bookings.release_expired(now())
        await stores.approvals.reject_unapproved(now())
        await stores.sessions.complete_past(now())
        await stores.erasures.continue_erasures(now())

    async with repeating("reconciling sessions", reconcile, INTERVAL_S, runtime.clock.sleep):
        yield
