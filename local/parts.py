"""Parts of a mesh: their names, and their unexpected exits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from mesh.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from local.child import Child
    from local.postgres.server import EmbeddedPostgres

    # Receives a part ("gym", "postgresql") and its new state.
    Report: TypeAlias = Callable[[str, str], None]

POSTGRES = "postgresql"
MAIL_SINK = "mail_sink"
CONSOLE = "console"
MESH = "mesh"
# The process of all services, in a mesh that runs them in one process.
ALL_SERVICES = "services"
# State of a part that is not ready yet.
STARTING = "starting"
NO_CONSOLE_PACKAGES = "The console needs more packages: pip install 'solo60-mesh[console]'."


class MeshError(Failure):
    """Failure of a mesh or of one of its parts; the message gives the reason, and the log to read if there is one."""


@dataclass(frozen=True, slots=True)
class UnexpectedExit:
    """Unexpected end of a part; `reason` is a predicate such as "was killed by signal 9"."""

    pid: int
    reason: str
    log: Path


def unexpected_exit_of_service(child: Child) -> UnexpectedExit | None:
    """Return the UnexpectedExit of a service's process, or None while it runs."""
    code = child.exit_code
    if code is None:
        return None
    reason = f"was killed by signal {-code}" if code < 0 else f"exited with code {code}"
    return UnexpectedExit(child.pid, reason, child.log)


def unexpected_exit_of_postgres(postgres: EmbeddedPostgres | None) -> UnexpectedExit | None:
    """Return the UnexpectedExit of the mesh's own PostgreSQL, or None while it runs or if the mesh has none."""
    end = postgres.exit_reason() if postgres is not None else None
    return UnexpectedExit(postgres.guardian_pid, end, postgres.log) if postgres is not None and end else None
