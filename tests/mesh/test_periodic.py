from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from structlog.testing import capture_logs

import mesh.periodic
from mesh.periodic import repeating
from tests.support.eventually import TIMEOUT_S

if TYPE_CHECKING:
    import pytest


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
        async with repeating("tidying up", work, interval_s=0), asyncio.timeout(TIMEOUT_S):
            await is_through.wait()

    assert [(entry["event"], entry["what"]) for entry in logs] == [("upkeep failed", "tidying up")] * 2
    assert len(asyncio.all_tasks()) == 1


async def test_work_that_loses_a_cancellation_is_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """`repeating` ends even if its work swallows the first cancellation, as nats-py can."""
    monkeypatch.setattr(mesh.periodic, "CANCEL_AGAIN_S", 0.01)
    has_begun = asyncio.Event()
    lost: list[asyncio.CancelledError] = []

    async def work() -> None:
        has_begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            lost.append(error)
        await asyncio.Event().wait()

    async with asyncio.timeout(TIMEOUT_S), repeating("taking in", work, interval_s=0):
        await has_begun.wait()

    assert len(lost) == 1
    assert len(asyncio.all_tasks()) == 1
