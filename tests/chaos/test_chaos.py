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
from tests.chaos.clients import Clients
from tests.chaos.consistency import inconsistencies
from tests.chaos.faults import FaultInjector, FaultKind, draw_long_plan, draw_short_plan
from tests.chaos.final_state import read_final_state
from tests.chaos.inbox import Inbox
from tests.chaos.journeys import draw_journeys
from tests.chaos.settling import until_settled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.chaos.faults import Fault
    from tests.chaos.final_state import FinalState
    from tests.chaos.journeys import Outcome
    from tests.support.local_mesh import LocalMesh

pytestmark = pytest.mark.system

SETTLE_TIMEOUT_S = LEASE.total_seconds() + 60.0
# Runs with `make_due` do not wait for leases, only for the machine.
SHORT_SETTLE_TIMEOUT_S = 240.0
# A run beyond this time hangs.
RUN_TIMEOUT_S = 1800.0
SHORT_JOURNEYS = 40
# Folder for the logs of failed runs.
FAILED_RUN_LOGS = Path("build/chaos")


def chosen_seeds() -> list[int]:
    """Return the seeds in CHAOS_SEEDS, such as "1-10", "7" or "3,5"."""
    seeds: list[int] = []
    for part in os.environ.get("CHAOS_SEEDS", "1").split(","):
        first, _, last = part.partition("-")
        seeds += range(int(first), int(last or first) + 1)
    return seeds


async def run_with_faults(
    local: LocalMesh,
    seed: int,
    journeys: int,
    draw_plan: Callable[[random.Random, int], list[Fault]],
    *,
    concurrency: int,
    make_due: bool,
) -> None:
    """Run `journeys` journeys during injected faults; fail with the seed if the final state is inconsistent."""
    rng = random.Random(seed)  # noqa: S311 - must be repeatable
    plans, faults = draw_journeys(rng, journeys), draw_plan(rng, journeys)
    began = time.monotonic()
    async with asyncio.timeout(RUN_TIMEOUT_S), BreakableMesh.started(local) as mesh, mesh.channels() as channels:
        inbox = Inbox(mesh.mesh.settings.inbox_folder)
        clients = Clients(channels, inbox, seed, concurrency)
        await clients.open_gyms()
        injector = FaultInjector(mesh, faults, rng)
        try:
            outcomes = await clients.run(plans, injector.inject_due)
            await injector.finish()
        finally:
            await injector.stop()
        journeys_s = time.monotonic() - began
        timeout_s = SHORT_SETTLE_TIMEOUT_S if make_due else SETTLE_TIMEOUT_S
        settled_s = await until_settled(mesh.mesh, timeout_s, make_due=make_due)
        state = await read_final_state(mesh.mesh)
    print(f"\nseed {seed}: {journeys_s:.0f} s of journeys, settled after {settled_s:.0f} s")  # noqa: T201 - a report
    print(summary(outcomes, state, mesh, clients))  # noqa: T201 - a report
    found = inconsistencies(outcomes, state)
    if found:
        folder = copy_logs(local, seed)
        plan = "\n  ".join(injector.log)
        pytest.fail(
            f"seed {seed} shows {len(found)} inconsistencies (CHAOS_SEEDS={seed} CHAOS_JOURNEYS={journeys} make chaos; "
            f"logs in {folder}):\n" + "\n".join(found[:40]) + f"\nInjected faults:\n  {plan}",
            pytrace=False,
        )
    assert {fault.kind for fault in faults} == set(FaultKind)
    assert state.payments


def summary(outcomes: Sequence[Outcome], state: FinalState, mesh: BreakableMesh, clients: Clients) -> str:
    """Summarise a run in three lines. Internal errors are reported but do not fail the test."""
    steps = Counter(f"{step} {answer}" for outcome in outcomes for step, answer in outcome.answers.items())
    logs = mesh.mesh.settings.log_folder.glob("*.jsonl")
    internal_errors = sum(log.read_text().count('"event":"internal error"') for log in logs)
    refusals = Counter(f"{step}: {reason}" for outcome in outcomes for step, reason in outcome.refusals.items())
    mails = f"{state.mails.total()} mails and {state.mail_copies} second copies"
    return (
        f"  steps: {dict(sorted(steps.items()))}; {mails}\n"
        f"  faults: {dict(mesh.injected)}; repeated starts: {mesh.repeated_starts}; "
        f"internal errors: {internal_errors}\n"
        f"  answers: {dict(clients.answers)}; refused for {dict(refusals)}"
    )


def copy_logs(local: LocalMesh, seed: int) -> Path:
    """Copy the logs of all processes to FAILED_RUN_LOGS and return their folder."""
    folder = FAILED_RUN_LOGS / f"seed-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(local.settings.log_folder, folder)
    return folder


async def test_no_booking_is_lost_or_repeated_when_processes_die(stopped_mesh: LocalMesh) -> None:
    """Despite faults, each confirmed booking exists and is paid and mailed exactly once. Other members pay nothing."""
    await run_with_faults(stopped_mesh, 1, SHORT_JOURNEYS, draw_short_plan, concurrency=16, make_due=True)


@pytest.mark.soak
@pytest.mark.parametrize("seed", chosen_seeds())
async def test_two_thousand_journeys_survive_all_kinds_of_faults(stopped_mesh: LocalMesh, seed: int) -> None:
    """Mixed journeys stay consistent under many faults. No work is pending one lease and 60 s after the last one."""
    journeys = int(os.environ.get("CHAOS_JOURNEYS", "2000"))
    await run_with_faults(stopped_mesh, seed, journeys, draw_long_plan, concurrency=50, make_due=False)
