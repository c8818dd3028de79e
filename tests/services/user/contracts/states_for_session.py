"""States of the user service in which the session service has expectations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from solo60.user.v1.user_pb2 import CompleteErasureRequest
from solo60.user.v1.user_pb2_grpc import UserServiceStub
from tests.services.user.contracts.states_for_auth import (
    a_suspended_user,
    a_user_who_has_left,
    a_user_who_is_being_erased,
    an_active_user,
    no_user,
)
from tests.services.user.contracts.states_for_subscription import an_active_user_in_new_york

if TYPE_CHECKING:
    from tests.support.consumers import States
    from tests.support.serving import MeshForTests


async def an_erased_user(mesh: MeshForTests) -> dict[str, object]:
    """Add a user, and request and complete the erasure."""
    user = await a_user_who_is_being_erased(mesh)
    await mesh.stub(UserServiceStub).CompleteErasure(CompleteErasureRequest(user_id=str(user["user_id"])))
    return user


STATES: States = {
    "a suspended user": a_suspended_user,
    "a user who has left": a_user_who_has_left,
    "an active user": an_active_user,
    "an active user in New York": an_active_user_in_new_york,
    "an erased user": an_erased_user,
    "no user": no_user,
}
