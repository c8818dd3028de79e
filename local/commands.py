"""Commands from other processes to a running mesh."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from contracts.services import SERVICE_NAMES
from local.control import ControlError
from local.parts import ALL_SERVICES, CONSOLE, POSTGRES, MeshError
from local.postgres.server import PostgresError

if TYPE_CHECKING:
    from local.control import Command


class Restartable(Protocol):
    """Interface of a running mesh for these commands."""

    states: dict[str, str]

    async def restart(self, name: str) -> None:
        """Restart a part, and return once it is SERVING."""


async def handle_command(mesh: Restartable, command: Command) -> dict[str, object]:
    """Return the "states" of a mesh, or "restart" one of its parts; raise ControlError if that fails."""
    if command.get("verb") == "states":
        return {"states": mesh.states}
    part = str(command.get("part"))
    if command.get("verb") != "restart" or part not in (POSTGRES, CONSOLE, ALL_SERVICES, *SERVICE_NAMES):
        raise ControlError('Unknown command: a mesh accepts "states", and "restart" with the name of a part.')
    try:
        await mesh.restart(part)
    except (MeshError, PostgresError) as error:
        raise ControlError(str(error)) from None
    except OSError as error:
        raise ControlError(f"{part} did not start: {error.filename}: {error.strerror}.") from None
    return {"part": part, "state": mesh.states[part]}
