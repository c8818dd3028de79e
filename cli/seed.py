"""`solo60 seed`: a believable gym chain on the running mesh."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cli.operator import operator_channels, operator_settings
from cli.seeding import GymChain
from cli.terminal import JsonFlag, err, print_facts
from local.movable_clock import clock_of_mesh

MAX_MEMBERS = 100_000


def seed(
    *,
    members: Annotated[int, typer.Option(min=1, max=MAX_MEMBERS, help="Number of members.")] = 1000,
    random_seed: Annotated[int, typer.Option(help="Another number gives other members and bookings.")] = 1,
    as_json: JsonFlag = False,
) -> None:
    """Create gyms, and members with credits, subscriptions, bookings, guests and waiting lists for the next 28 days.

    A second run with the same random seed on the same day continues an interrupted run, and creates nothing twice.
    """
    print_facts(asyncio.run(_seed(members, random_seed)), as_json=as_json)


async def _seed(count: int, random_seed: int) -> dict[str, int]:
    settings = operator_settings().model_copy(update={"trace_sample_ratio": 0.0})
    async with operator_channels(settings) as channels:
        chain = GymChain(channels, random_seed, clock_of_mesh(settings).now())
        await chain.open_gyms()
        columns = (TextColumn("members"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=err) as progress:
            task = progress.add_task("members", total=count)
            await chain.add_members(count, lambda: progress.advance(task))
    return dict(chain.counts)
