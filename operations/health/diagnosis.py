"""Diagnosis of a service that is not SERVING: the likely reason, and the command to run next."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from contracts.services import SERVICE_NAMES
from local.control import ControlError, send_command
from local.disk import disk_trouble_of_mesh
from local.folder_lock import read_published
from local.parts import ALL_SERVICES, POSTGRES, STARTING
from mesh.serving.health_probe import SERVING, UNREACHABLE
from operations.texts import as_sentence

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mesh.config import Settings

NOT_SERVING = "NOT_SERVING"
START = "make run"
CHECK_AGAIN = "solo60 health"
DOCTOR = "solo60 doctor"


@dataclass(frozen=True, slots=True)
class Finding:
    """Reason for a fault, as a sentence, and the command to run next."""

    reason: str
    next_command: str

    def __str__(self) -> str:
        return f"{self.reason} Next: `{self.next_command}`" if self.next_command else self.reason


@dataclass(frozen=True, slots=True)
class MeshState:
    """Current state of the mesh in DATA_DIR: whether it runs, the states of its parts, and any fault of its disk."""

    runs: bool
    states: Mapping[str, str] = field(default_factory=dict)
    disk: str = ""

    @property
    def postgres(self) -> str:
        """Fault of PostgreSQL as a sentence, or "" if there is none."""
        state = self.states.get(POSTGRES, SERVING)
        return "" if state == SERVING else state


async def state_of_local_mesh(settings: Settings) -> MeshState:
    """Return the state of the mesh in DATA_DIR and of its disk."""
    if not settings.data_dir.is_dir():
        return MeshState(runs=False)
    disk = await asyncio.to_thread(disk_trouble_of_mesh, settings)
    try:
        answer = await send_command(settings.data_dir, verb="states")
    except ControlError:  # no mesh runs, or it is starting or stopping
        return MeshState(read_published(settings.data_dir) is not None, disk=disk)
    return MeshState(runs=True, states=answer["states"], disk=disk)


def diagnose(name: str, status: str, troubles: Sequence[str], mesh: MeshState, settings: Settings) -> Finding:
    """Return the reason why a service is not SERVING, and the command to run next."""
    if status == UNREACHABLE:
        return _diagnose_unreachable(name, mesh, settings)
    if status == NOT_SERVING and troubles:
        return _diagnose_troubles(troubles, mesh)
    if status == NOT_SERVING:
        return Finding("It is starting or stopping.", CHECK_AGAIN)
    return Finding(f"Its health check returned {status}.", "")


def _diagnose_unreachable(name: str, mesh: MeshState, settings: Settings) -> Finding:
    if not mesh.runs:
        return Finding("Not reachable, and no mesh runs in DATA_DIR.", START)
    if not mesh.states:
        return Finding("The mesh is starting or stopping.", CHECK_AGAIN)
    part = ALL_SERVICES if ALL_SERVICES in mesh.states else name
    state = mesh.states.get(part, "")
    if state == STARTING:
        return Finding("It is starting or stopping.", CHECK_AGAIN)
    silent = f"It runs but does not answer. Its log is {settings.log_path_of(name)}."
    return Finding(silent if state in ("", SERVING) else state.removeprefix(f"{part} "), f"solo60 restart {part}")


def _diagnose_troubles(troubles: Sequence[str], mesh: MeshState) -> Finding:
    """Return the troubles as a finding. Most concern the database, so add the mesh's own report on PostgreSQL."""
    reason = " ".join(as_sentence(each) for each in troubles)
    if POSTGRES not in mesh.states:
        return Finding(f"{reason} Its database is the one at DATABASE_URL.", DOCTOR)
    return Finding(f"{reason} {mesh.postgres}".strip(), f"solo60 restart {POSTGRES}")


def group_findings(findings: Mapping[str, Finding]) -> list[str]:
    """Return one line per finding, starting with the names of all services that have it."""
    names: dict[Finding, list[str]] = {}
    for name in SERVICE_NAMES:
        if name in findings:
            names.setdefault(findings[name], []).append(name)
    return [f"{', '.join(about)}: {finding}" for finding, about in names.items()]
