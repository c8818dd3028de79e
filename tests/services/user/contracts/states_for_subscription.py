"""States of the user service in which the subscription service has expectations."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from solo60.user.v1.user_pb2 import USER_STATE_DELETED, USER_STATE_SUSPENDED, UserState
from solo60.user.v1.user_pb2_grpc import UserServiceStub
from tests.services.user.user_requests import add_user, update_user

if TYPE_CHECKING:
    from tests.support.consumers import States
    from tests.support.serving import MeshForTests


async def no_user(_mesh: MeshForTests) -> dict[str, object]:
    """Return the id of a user who does not exist."""
    return {"user_id": str(uuid4())}


async def an_active_user(mesh: MeshForTests) -> dict[str, object]:
    """Add a user."""
    return {"user_id": await _user(mesh)}


async def an_active_user_in_new_york(mesh: MeshForTests) -> dict[str, object]:
    """Add a user with a time zone."""
    return {"user_id": await _user(mesh, time_zone="America/New_York")}


async def a_suspended_user(mesh: MeshForTests) -> dict[str, object]:
    """Add and suspend a user."""
    return {"user_id": await _user(mesh, USER_STATE_SUSPENDED)}


async def a_user_who_has_left(mesh: MeshForTests) -> dict[str, object]:
    """Add a user who leaves."""
    return {"user_id": await _user(mesh, USER_STATE_DELETED)}


async def _user(mesh: MeshForTests, state: UserState.ValueType | None = None, **fields: str) -> str:
    """Add a user with a new address, change the state, and return the id."""
    users = mesh.stub(UserServiceStub)
    added = await add_user(users, f"{uuid4().hex}@example.org", **fields)
    if state is not None:
        await update_user(users, added, state=state)
    return added.user_id


STATES: States = {
    "a suspended user": a_suspended_user,
    "a user who has left": a_user_who_has_left,
    "an active user": an_active_user,
    "an active user in New York": an_active_user_in_new_york,
    "no user": no_user,
}
