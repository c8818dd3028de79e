"""Diagnosis: the reason why a service is not SERVING, and the next command to type, as far as this machine shows."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mesh.config import SERVICE_NAMES
from mesh.control import ControlError, give_order
from mesh.disk import disk_trouble_of_mesh
from mesh.folder_lock import read_published
from mesh.health_probe import SERVING, UNREACHABLE
from mesh.parts import POSTGRES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mesh.config import Settings

NOT_SERVING = "NOT_SERVING"
START = "make run"
AGAIN = "solo60 health"
DOCTOR = "solo60 doctor"


@dataclass(frozen=True, slots=True)
class Finding:
    """The reason why something does not work, as a sentence, and the command to type next."""

    reason: str
    next: str

    def __str__(self) -> str:
        return f"{self.reason} Next: `{self.next}`" if self.next else self.reason


@dataclass(frozen=True, slots=True)
class MeshSeen:
    """Present state of the mesh in DATA_DIR: whether it runs, the states of its parts, and its disk's trouble."""

    runs: bool
    states: Mapping[str, str] = field(default_factory=dict)
    disk: str = ""

    @property
    def postgres(self) -> str:
        """The trouble with PostgreSQL, as a sentence, or ""."""
        state = self.states.get(POSTGRES, SERVING)
        return "" if state == SERVING else state


async def look_at_local_mesh(settings: Settings) -> MeshSeen:
    """Ask the mesh that runs in DATA_DIR, if one does, and look at its disk."""
    if not settings.data_dir.is_dir():
        return MeshSeen(runs=False)
    disk = await asyncio.to_thread(disk_trouble_of_mesh, settings)
    try:
        answer = await give_order(settings.data_dir, verb="states")
    except ControlError:  # none runs, or it is starting or stopping
        return MeshSeen(read_published(settings.data_dir) is not None, disk=disk)
    return MeshSeen(runs=True, states=answer["states"], disk=disk)


def finding_on(name: str, status: str, hindrances: Sequence[str], mesh: MeshSeen, settings: Settings) -> Finding:
    """Return the reason why a service is not SERVING, and the next command to type."""
    state = mesh.states.get(name, "")
    if status == UNREACHABLE:
        if not mesh.runs:
            return Finding("Nobody listens there, and no mesh runs in DATA_DIR.", START)
        if not mesh.states:
            return Finding("The mesh is starting or stopping.", AGAIN)
        silent = f"It runs and does not answer; its log is {settings.log_path_of(name)}."
        return Finding(silent if state in ("", SERVING) else state.removeprefix(f"{name} "), f"solo60 restart {name}")
    if status == NOT_SERVING and hindrances:
        return _finding_on_hindrances(hindrances, mesh)
    if status == NOT_SERVING:
        return Finding("It is starting or stopping.", AGAIN)
    return Finding(f"It answers {status} to a health check.", "")


def _finding_on_hindrances(hindrances: Sequence[str], mesh: MeshSeen) -> Finding:
    """Most often it is the database; the mesh knows more of its own than the service does."""
    reason = " ".join(_sentence(each) for each in hindrances)
    if POSTGRES not in mesh.states:
        return Finding(f"{reason} DATABASE_URL names that database.", DOCTOR)
    return Finding(f"{reason} {mesh.postgres}".strip(), f"solo60 restart {POSTGRES}")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def grouped(findings: Mapping[str, Finding]) -> list[str]:
    """Return a line for each finding, after the names of all services that it is about."""
    names: dict[Finding, list[str]] = {}
    for name in SERVICE_NAMES:
        if name in findings:
            names.setdefault(findings[name], []).append(name)
    return [f"{', '.join(about)}: {finding}" for finding, about in names.items()]
