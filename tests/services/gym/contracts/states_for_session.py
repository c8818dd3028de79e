"""States of the gym service in which the session service has expectations. An hour costs £12.50 or 3 credits."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from solo60.gym.v1.gym_pb2 import OpeningHours
from solo60.gym.v1.gym_pb2_grpc import GymServiceStub
from tests.services.gym.gym_requests import NOON, add_gym

if TYPE_CHECKING:
    from tests.support.consumers import States
    from tests.support.serving import MeshForTests

PERIOD = {"start": NOON, "end": NOON + timedelta(hours=1)}


async def no_gym(_mesh: MeshForTests) -> dict[str, object]:
    """Return the id of a gym that does not exist."""
    return {"gym_id": str(uuid4()), **PERIOD}


async def a_gym(mesh: MeshForTests, **fields: Any) -> dict[str, object]:
    """Add a gym in London that never closes, except for these fields."""
    name = f"Gym {uuid4().hex}"
    gym = await add_gym(mesh.stub(GymServiceStub), name, **fields)
    return {"gym_id": gym.gym_id, "gym_name": name, **PERIOD}


async def a_gym_that_is_closed_at_that_time(mesh: MeshForTests) -> dict[str, object]:
    """Add a gym that opens at 18:00."""
    return await a_gym(mesh, opening_hours=OpeningHours(opens_minute=18 * 60, closes_minute=22 * 60))


async def a_gym_with_a_noise_policy(mesh: MeshForTests) -> dict[str, object]:
    """Add a gym with a noise policy."""
    return await a_gym(mesh, noise_policy="No music after 22:00.")


async def a_gym_that_requires_approval(mesh: MeshForTests) -> dict[str, object]:
    """Add a gym that requires approval."""
    return await a_gym(mesh, requires_approval=True)


STATES: States = {
    "a gym in London": a_gym,
    "a gym that is closed at that time": a_gym_that_is_closed_at_that_time,
    "a gym that requires approval": a_gym_that_requires_approval,
    "a gym with a noise policy": a_gym_with_a_noise_policy,
    "an open gym": a_gym,
    "no gym": no_gym,
}
