"""Response times that do not reveal whether an address has an account."""

from __future__ import annotations

import asyncio
import math
from time import monotonic

# Longer than the difference to hide, and longer than a hash takes on an idle machine.
SLOT_S = 0.1


async def pad(started_s: float) -> None:
    """Wait until a multiple of SLOT_S has passed since `started_s`, in seconds of `time.monotonic`.

    Known and unknown addresses cause the same work, so their times differ by microseconds. The wait hides the rest.
    """
    elapsed_s = monotonic() - started_s
    await asyncio.sleep(math.ceil(elapsed_s / SLOT_S) * SLOT_S - elapsed_s)
