"""One window of the booking benchmark: starts a stack, books, and prints the figures as JSON.

Run by `python -m bench.booking` in a process of its own, with the stack's name and the number of bookings.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from bench.booking.load import orders_for, run_load
from bench.booking.stacks import mesh_stack, plain_stack
from mesh.serving.event_loop import service_loop
from tests.support.folders import folder_for_all

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from bench.booking.stacks import Stack

CONCURRENCY = 16
WARM_UP = 200
SAMPLED = 0.1
PLAIN = "plain"
MAIL_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Figures:
    """Result of one window.

    `mailed_per_s` divides the bookings by the time until the last mail was stored. `cpu_ms` has the processor time per
    booking of each part, in milliseconds.
    """

    bookings_per_s: float
    p50_ms: float
    p99_ms: float
    mailed_per_s: float
    cpu_ms: dict[str, float]


def main() -> None:
    name, bookings = sys.argv[1:]
    with folder_for_all() as folder, service_loop() as runner:
        figures = runner.run(measure(_stack(name, folder), int(bookings)))
    print(json.dumps(asdict(figures)))


def _stack(name: str, folder: Path) -> AbstractAsyncContextManager[Stack]:
    return (
        plain_stack(folder)
        if name == PLAIN
        else mesh_stack(folder, "native" if name == "native" else "grpcio", SAMPLED)
    )


async def measure(stack: AbstractAsyncContextManager[Stack], bookings: int) -> Figures:
    """Start a stack, and measure one window after a warm-up."""
    async with stack as running:
        await run_load(running.booker, orders_for(running.user_ids, running.gym_ids, WARM_UP), CONCURRENCY)
        await _wait_for_mails(running, WARM_UP)
        orders = orders_for(running.user_ids, running.gym_ids, bookings, first=WARM_UP)
        cpu_before, began = running.cpu_s(), time.perf_counter()
        timings = await run_load(running.booker, orders, CONCURRENCY)
        await _wait_for_mails(running, WARM_UP + bookings)
        mailed_s = time.perf_counter() - began
        cpu_after = running.cpu_s()
    return Figures(
        bookings_per_s=timings.bookings_per_s,
        p50_ms=timings.p50_ms,
        p99_ms=timings.p99_ms,
        mailed_per_s=bookings / mailed_s,
        cpu_ms={name: 1000 * (cpu_after[name] - cpu_before[name]) / bookings for name in sorted(cpu_before)},
    )


async def _wait_for_mails(stack: Stack, count: int) -> None:
    async with asyncio.timeout(MAIL_TIMEOUT_S):
        while await stack.mails() < count:  # noqa: ASYNC110 - another process stores the mails
            await asyncio.sleep(0.05)


if __name__ == "__main__":
    main()
