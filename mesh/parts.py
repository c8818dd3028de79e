"""The parts of a mesh: their names, and how one ends that nobody asked to end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mesh.failure import Failure

if TYPE_CHECKING:
    from pathlib import Path

    from mesh.child import Child
    from mesh.postgres import EmbeddedPostgres

POSTGRES = "postgresql"
INBOX = "inbox"
MESH = "mesh"


class MeshError(Failure):
    """The mesh does not run; the sentence says why, and where to look."""


@dataclass(frozen=True, slots=True)
class Death:
    """The end of a part that nobody asked to end; `how` is a predicate: "was killed by signal 9"."""

    pid: int
    how: str
    log: Path


def death_of_service(child: Child) -> Death | None:
    """Return how the process of a service ended, or None while it runs."""
    code = child.exit_code
    if code is None:
        return None
    how = f"was killed by signal {-code}" if code < 0 else f"ended by itself with exit code {code}"
    return Death(child.pid, how, child.log)


def death_of_postgres(postgres: EmbeddedPostgres | None) -> Death | None:
    """Return how the mesh's own PostgreSQL ended, or None while it runs and where there is none."""
    end = postgres.end() if postgres is not None else None
    return Death(postgres.guardian_pid, end, postgres.log) if postgres is not None and end else None
