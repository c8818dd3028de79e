from __future__ import annotations

import asyncio
import os
import random
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mesh.outbox.store import LEASE
from tests.chaos.breakable_mesh import BreakableMesh
from tests.chaos.evidence import gather_evidence, until_settled
from tests.chaos.havoc import Havoc, Kind, draw_long_havoc, draw_short_havoc
from tests.chaos.journeys import draw_journeys
from tests.chaos.town import Town
from tests.chaos.verdict import faults

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.chaos.evidence import Evidence
    from tests.chaos.havoc import Blow
    from tests.chaos.journeys import Story
    from tests.support.local_mesh import LocalMesh

pytestmark = pytest.mark.system

SETTLES_WITHIN_S = LEASE.total_seconds() + 60.0
# Hurried runs do not wait for leases, only for the machine.
HURRIED_WITHIN_S = 240.0
# A run beyond this time hangs.
LASTS_AT_MOST_S = 1800.0
SHORT_JOURNEYS = 40
# Folder for the logs of failed runs.
KEPT_LOGS = Path("build/chaos")


def chosen_seeds() -> list[int]:
    """Return the seeds in CHAOS_SEEDS, such as "1-10", "7" or "3,5"."""
    seeds: list[int] = []
    for part in os.environ.get("CHAOS_SEEDS", "1-10").split(","):
        first, _, last = part.partition("-")
        seeds += range(int(first), int(last or first) + 1)
    return seeds


async def live_through(
    local: LocalMesh,
    seed: int,
    journeys: int,
    draw_havoc: Callable[[random.Random, int], list[Blow]],
    *,
    hurrying: bool,
) -> None:
    """Run `journeys` journeys during injected faults; fail with the seed if the final state has faults."""
    rng = random.Random(seed)  # noqa: S311 - must be repeatable
    plans, blows = draw_journeys(rng, journeys), draw_havoc(rng, journeys)
    began = time.monotonic()
    async with asyncio.timeout(LASTS_AT_MOST_S), BreakableMesh.started(local) as mesh, mesh.channels() as channels:
        town = Town(channels, seed)
        await town.open_gyms()
        havoc = Havoc(mesh, blows, rng)
        try:
            stories = await town.travel(plans, havoc.strike)
            await havoc.over()
        finally:
            await havoc.stop()
        travelled_s = time.monotonic() - began
        within_s = HURRIED_WITHIN_S if hurrying else SETTLES_WITHIN_S
        settled_s = await until_settled(mesh.mesh, within_s, hurrying=hurrying)
        evidence = await gather_evidence(mesh.mesh)
    print(f"\nseed {seed}: {travelled_s:.0f} s of journeys, settled after {settled_s:.0f} s")  # noqa: T201 - a report
    print(summary(stories, evidence, mesh, town))  # noqa: T201 - a report
    found = faults(stories, evidence)
    if found:
        kept = keep_logs(local, seed)
        plan = "\n  ".join(havoc.log)
        pytest.fail(
            f"seed {seed} shows {len(found)} faults (CHAOS_SEEDS={seed} CHAOS_JOURNEYS={journeys} make chaos; "
            f"logs in {kept}):\n" + "\n".join(found[:40]) + f"\nWhat was broken:\n  {plan}",
            pytrace=False,
        )
    assert {blow.kind for blow in blows} == set(Kind)
    assert evidence.payments


def summary(stories: Sequence[Story], evidence: Evidence, mesh: BreakableMesh, town: Town) -> str:
    """Summarise a run in three lines. Internal errors are reported but do not fail the test."""
    booked = Counter(str(story.booked) for story in stories)
    cancelled = Counter(
        f"cancelling {story.cancelled}" for story in stories if story.session_id and story.journey.cancels
    )
    logs = mesh.mesh.settings.log_folder.glob("*.jsonl")
    internal_errors = sum(log.read_text().count('"event":"internal error"') for log in logs)
    refusals = Counter(story.refusal for story in stories if story.refusal)
    mails = f"{evidence.mails.total()} mails and {evidence.mail_copies} second copies"
    return (
        f"  bookings: {dict(booked | cancelled)}; {mails}\n"
        f"  broken: {dict(mesh.broken)}; starts repeated: {mesh.starts_repeated}; internal errors: {internal_errors}\n"
        f"  answers: {dict(town.answers)}; refused for {dict(refusals)}"
    )


def keep_logs(local: LocalMesh, seed: int) -> Path:
    """Copy the logs of all processes to KEPT_LOGS and return their folder."""
    kept = KEPT_LOGS / f"seed-{seed}"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(local.settings.log_folder, kept)
    return kept


async def test_no_booking_is_lost_or_repeated_when_processes_die(stopped_mesh: LocalMesh) -> None:
    """Despite faults, each confirmed booking exists and is paid and mailed exactly once. Other members pay nothing."""
    await live_through(stopped_mesh, 1, SHORT_JOURNEYS, draw_short_havoc, hurrying=True)


@pytest.mark.soak
@pytest.mark.parametrize("seed", chosen_seeds())
async def test_five_hundred_bookings_survive_all_kinds_of_faults(stopped_mesh: LocalMesh, seed: int) -> None:
    """Bookings stay consistent under many faults, and no work is pending one lease and 60 s after the last journey."""
    journeys = int(os.environ.get("CHAOS_JOURNEYS", "500"))
    await live_through(stopped_mesh, seed, journeys, draw_long_havoc, hurrying=False)
