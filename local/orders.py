"""Orders from other processes to a running mesh."""

from __future__ import annotations

from typing import TYPE_CHECKING

from local.control import ControlError
from local.parts import POSTGRES, MeshError
from local.postgres.server import PostgresError
from mesh.config import SERVICE_NAMES

if TYPE_CHECKING:
    from local.control import Order
    from local.supervisor import Mesh


async def obey(mesh: Mesh, order: Order) -> dict[str, object]:
    """Return the "states" of a mesh, or "restart" one of its parts; raise ControlError if that fails."""
    if order.get("verb") == "states":
        return {"states": mesh.states}
    part = str(order.get("part"))
    if order.get("verb") != "restart" or part not in (POSTGRES, *SERVICE_NAMES):
        raise ControlError('Unknown order: a mesh accepts "states", and "restart" with the name of a part.')
    try:
        await mesh.restart(part)
    except (MeshError, PostgresError) as error:
        raise ControlError(str(error)) from None
    except OSError as error:
        raise ControlError(f"{part} did not start: {error.filename}: {error.strerror}.") from None
    return {"part": part, "state": mesh.states[part]}
