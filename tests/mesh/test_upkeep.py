from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from mesh.upkeep import repeating
from tests.support.eventually import PATIENCE_S


async def test_a_failure_is_logged_and_the_work_is_repeated() -> None:
    """Failed upkeep is logged and repeated until its context ends."""
    outcomes = iter([ValueError("full"), None, OSError("gone"), None])
    is_through = asyncio.Event()

    async def work() -> None:
        outcome = next(outcomes, is_through)
        if outcome is is_through:
            is_through.set()
        elif isinstance(outcome, Exception):
            raise outcome

    with capture_logs() as logs:
        async with repeating("tidying up", work, interval_s=0), asyncio.timeout(PATIENCE_S):
            await is_through.wait()

    assert [(entry["event"], entry["what"]) for entry in logs] == [("upkeep failed", "tidying up")] * 2
    assert len(asyncio.all_tasks()) == 1
