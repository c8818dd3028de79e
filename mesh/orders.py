"""Orders of other processes to a running mesh."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.config import SERVICE_NAMES
from mesh.control import ControlError
from mesh.parts import POSTGRES, MeshError
from mesh.postgres import PostgresError

if TYPE_CHECKING:
    from mesh.control import Order
    from mesh.supervisor import Mesh


async def obey(mesh: Mesh, order: Order) -> dict[str, object]:
    """Obey an order to a mesh: return its "states", or "restart" a part; raise ControlError."""
    if order.get("verb") == "states":
        return {"states": mesh.states}
    part = str(order.get("part"))
    if order.get("verb") != "restart" or part not in (POSTGRES, *SERVICE_NAMES):
        raise ControlError("This mesh does not know such an order.")
    try:
        await mesh.restart(part)
    except (MeshError, PostgresError) as error:
        raise ControlError(str(error)) from None
    except OSError as error:
        raise ControlError(f"{part} did not start: {error.filename}: {error.strerror}.") from None
    return {"part": part, "state": mesh.states[part]}
