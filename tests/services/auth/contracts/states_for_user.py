"""States of the auth service in which the user service has expectations."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from contracts.errors import CredentialsInvalid
from solo60.auth.v1.auth_pb2 import LogInRequest, SignUpRequest
from solo60.auth.v1.auth_pb2_grpc import AuthServiceStub

if TYPE_CHECKING:
    from tests.support.consumers import States
    from tests.support.serving import MeshForTests

PASSWORD = "correct horse battery staple"  # noqa: S105 - of a test


async def a_user_with_a_password(mesh: MeshForTests) -> dict[str, object]:
    """Sign a user up, and return the id and the address."""
    request = SignUpRequest(email=f"{uuid4().hex}@members.example", password=PASSWORD, display_name="Ada")
    response = await mesh.stub(AuthServiceStub).SignUp(request)
    return {"user_id": response.user_id, "email": request.email}


async def a_failed_log_in(mesh: MeshForTests) -> dict[str, object]:
    """Fail to log in with an address that no user has."""
    request = LogInRequest(email=f"{uuid4().hex}@members.example", password=PASSWORD)
    with pytest.raises(CredentialsInvalid):
        await mesh.stub(AuthServiceStub).LogIn(request)
    return {"email": request.email}


STATES: States = {
    "a failed log-in with this address": a_failed_log_in,
    "a user with a password": a_user_with_a_password,
}
