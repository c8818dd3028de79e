"""The event loop of a service: uvloop where it is installed, on threads that do not get into each other's way."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress


def service_loop() -> asyncio.Runner:
    """Return a runner for the one loop of a service's process, to be used as a context.

    On Linux the process asks for SCHED_BATCH (sched(7)): a thread that becomes ready does not interrupt the one that
    runs. Both engines answer on threads of their own, which each answer wakes; where they share a core with the loop,
    the kernel would leave the loop and come back for every single call. That is a fifth of the time that one takes.
    """
    if hasattr(os, "SCHED_BATCH"):
        with suppress(OSError):  # not allowed everywhere, and needed nowhere
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    return asyncio.Runner(loop_factory=_new_event_loop)


def _new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415 - not installed everywhere
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
