"""States of the auth service in which it has expectations of itself, through its outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from solo60.auth.v1.auth_pb2 import RequestPasswordResetRequest
from solo60.auth.v1.auth_pb2_grpc import AuthServiceStub
from tests.services.auth.contracts.states_for_user import a_user_with_a_password
from tests.services.user.contracts.states_for_auth import an_active_user

if TYPE_CHECKING:
    from tests.support.consumers import States
    from tests.support.serving import MeshForTests


async def a_user_who_has_requested_a_new_password(mesh: MeshForTests) -> dict[str, object]:
    """Sign a user up, and request a code for a new password."""
    user = await a_user_with_a_password(mesh)
    await mesh.stub(AuthServiceStub).RequestPasswordReset(RequestPasswordResetRequest(email=str(user["email"])))
    return user


STATES: States = {
    "a user who has just signed up": a_user_with_a_password,
    "a user who has requested a new password": a_user_who_has_requested_a_new_password,
    "an active user": an_active_user,
}
