"""Parts of a mesh: their names, and the reason when one of them ends unexpectedly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mesh.failure import Failure

if TYPE_CHECKING:
    from pathlib import Path

    from local.child import Child
    from local.postgres.server import EmbeddedPostgres

POSTGRES = "postgresql"
INBOX = "inbox"
MESH = "mesh"


class MeshError(Failure):
    """The mesh does not run; the message says why, and where to look."""


@dataclass(frozen=True, slots=True)
class Death:
    """Unexpected end of a part; `how` is a predicate such as "was killed by signal 9"."""

    pid: int
    how: str
    log: Path


def death_of_service(child: Child) -> Death | None:
    """Return the Death of a service's process, or None while it runs."""
    code = child.exit_code
    if code is None:
        return None
    how = f"was killed by signal {-code}" if code < 0 else f"exited with code {code}"
    return Death(child.pid, how, child.log)


def death_of_postgres(postgres: EmbeddedPostgres | None) -> Death | None:
    """Return the Death of the mesh's own PostgreSQL, or None while it runs or if the mesh has none."""
    end = postgres.end() if postgres is not None else None
    return Death(postgres.guardian_pid, end, postgres.log) if postgres is not None and end else None
