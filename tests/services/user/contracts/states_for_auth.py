"""States of the user service in which the auth service has expectations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

from solo60.user.v1.user_pb2 import USER_STATE_DELETED, USER_STATE_SUSPENDED, EraseUserRequest
from solo60.user.v1.user_pb2_grpc import UserServiceStub
from tests.services.user.user_requests import add_user, update_user

if TYPE_CHECKING:
    from solo60.user.v1.user_pb2 import User
    from tests.support.consumers import States
    from tests.support.serving import MeshForTests


def new_address() -> str:
    """Return an email address that no user has."""
    return f"{uuid4().hex}@members.example"


def values_of(user: User) -> dict[str, object]:
    """Return the placeholders of a user."""
    return {"user_id": user.user_id, "email": user.email}


async def a_free_email_address(_mesh: MeshForTests) -> dict[str, object]:
    """Return an address that no user has."""
    return {"email": new_address()}


async def no_user(_mesh: MeshForTests) -> dict[str, object]:
    """Return the id of a user who does not exist."""
    return {"user_id": str(uuid4()), "email": new_address()}


async def an_unconfirmed_user(mesh: MeshForTests) -> dict[str, object]:
    """Add a user, whose address is unconfirmed at first."""
    return values_of(await add_user(mesh.stub(UserServiceStub), new_address()))


async def a_changed_user(mesh: MeshForTests, **fields: Any) -> dict[str, object]:
    """Add a user and change these fields."""
    users = mesh.stub(UserServiceStub)
    return values_of(await update_user(users, await add_user(users, new_address()), **fields))


async def an_active_user(mesh: MeshForTests) -> dict[str, object]:
    """Add a user and confirm the address."""
    return await a_changed_user(mesh, email_confirmed=True)


async def a_suspended_user(mesh: MeshForTests) -> dict[str, object]:
    """Add a user and suspend the account."""
    return await a_changed_user(mesh, state=USER_STATE_SUSPENDED)


async def a_user_who_has_left(mesh: MeshForTests) -> dict[str, object]:
    """Add a user, who then leaves."""
    return await a_changed_user(mesh, state=USER_STATE_DELETED)


async def a_user_who_is_being_erased(mesh: MeshForTests) -> dict[str, object]:
    """Add a user, and request the erasure."""
    user = await an_active_user(mesh)
    await mesh.stub(UserServiceStub).EraseUser(EraseUserRequest(user_id=str(user["user_id"])))
    return user


async def an_address_in_capitals(mesh: MeshForTests) -> dict[str, object]:
    """Add a user, and return the address in capitals."""
    user = await an_active_user(mesh)
    return {**user, "email": str(user["email"]).upper()}


async def an_address_of_another_user(mesh: MeshForTests) -> dict[str, object]:
    """Add two users, and return the id of one and the address of the other."""
    return {**await an_active_user(mesh), "email": (await an_active_user(mesh))["email"]}


STATES: States = {
    "a free email address": a_free_email_address,
    "a suspended user": a_suspended_user,
    "a user who has left": a_user_who_has_left,
    "a user who is being erased": a_user_who_is_being_erased,
    "an active user": an_active_user,
    "an active user with an unconfirmed email address": an_unconfirmed_user,
    "an active user, and the email address of another one": an_address_of_another_user,
    "an active user, and the user's email address in capitals": an_address_in_capitals,
    "no user": no_user,
}
