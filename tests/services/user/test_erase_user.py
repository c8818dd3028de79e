from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from contracts.errors import InvalidRequest, ScopeMissing, Unavailable, UserErased, UserNotFound
from solo60.user.v1.events_pb2 import UserLeft
from solo60.user.v1.user_pb2 import (
    USER_STATE_ACTIVE,
    USER_STATE_DELETED,
    CompleteErasureRequest,
    EraseUserRequest,
    GetUserByEmailRequest,
    ValidateUserRequest,
)
from solo60.user.v1.user_pb2_grpc import UserServiceStub
from tests.services.user.user_requests import add_user, get_user, update_user
from tests.support.violations import fields_of

if TYPE_CHECKING:
    from solo60.user.v1.user_pb2_grpc import UserServiceAsyncStub
    from tests.support.serving import MeshForTests

OUTBOX = "select destination, payload from outbox order by sequence"


async def test_an_erased_user_leaves_at_once(mesh: MeshForTests, users: UserServiceAsyncStub) -> None:
    """EraseUser makes a user leave and gives the address back, before any other service has answered."""
    user = await add_user(users)

    response = await users.EraseUser(EraseUserRequest(user_id=user.user_id))

    after = await get_user(users, user)
    assert (after.state, after.erase_time) == (USER_STATE_DELETED, response.erase_time)
    assert not (await users.ValidateUser(ValidateUserRequest(user_id=user.user_id))).valid
    with pytest.raises(UserNotFound):
        await users.GetUserByEmail(GetUserByEmailRequest(email=user.email))
    assert (await add_user(users, user.email)).user_id != user.user_id
    async with mesh.database("user").connection() as connection:
        messages = await connection.fetch(OUTBOX)
    left = UserLeft(user_id=user.user_id)
    assert [(name.rpartition("/")[2], left.user_id.encode() in payload) for name, payload in messages] == [
        *[("OnUserLeft", True)] * (len(messages) - 1),
        ("CompleteErasure", True),
    ]


async def test_a_repeated_erasure_changes_nothing(mesh: MeshForTests, users: UserServiceAsyncStub) -> None:
    """EraseUser of an erased user returns the first time, and schedules nothing more."""
    user = await add_user(users)
    first = await users.EraseUser(EraseUserRequest(user_id=user.user_id))

    assert await users.EraseUser(EraseUserRequest(user_id=user.user_id)) == first

    async with mesh.database("user").connection() as connection:
        count = "select count(*) from outbox where destination like '%/CompleteErasure'"
        assert await connection.fetchval(count) == 1


async def test_an_erased_user_cannot_come_back(users: UserServiceAsyncStub) -> None:
    """UpdateUser of an erased user fails with USER_ERASED and changes nothing."""
    user = await add_user(users)
    await users.EraseUser(EraseUserRequest(user_id=user.user_id))
    erased = await get_user(users, user)

    with pytest.raises(UserErased):
        await update_user(users, user, state=USER_STATE_ACTIVE)

    assert await get_user(users, user) == erased


async def test_an_erasure_waits_for_services_that_are_down(mesh: MeshForTests, users: UserServiceAsyncStub) -> None:
    """While another service cannot erase the address, the user service retains it, so that nothing is forgotten."""
    user = await add_user(users)
    await users.EraseUser(EraseUserRequest(user_id=user.user_id))

    with pytest.raises(Unavailable):
        await users.CompleteErasure(CompleteErasureRequest(user_id=user.user_id))

    assert (await get_user(users, user)).email == user.email
    async with mesh.database("user").connection() as connection:
        pending = "select count(*) from outbox where status = 'pending' and destination like '%/CompleteErasure'"
        assert await connection.fetchval(pending) == 1


async def test_unknown_users_cannot_be_erased(users: UserServiceAsyncStub) -> None:
    """EraseUser and CompleteErasure of an unknown user fail with USER_NOT_FOUND."""
    unknown = str(uuid4())
    with pytest.raises(UserNotFound):
        await users.EraseUser(EraseUserRequest(user_id=unknown))
    with pytest.raises(UserNotFound):
        await users.CompleteErasure(CompleteErasureRequest(user_id=unknown))


async def test_an_erasure_is_completed_only_after_its_request(users: UserServiceAsyncStub) -> None:
    """CompleteErasure of a user for whom EraseUser was not called fails with USER_NOT_FOUND and erases nothing."""
    user = await update_user(users, await add_user(users), state=USER_STATE_DELETED)

    with pytest.raises(UserNotFound):
        await users.CompleteErasure(CompleteErasureRequest(user_id=user.user_id))

    assert await get_user(users, user) == user


async def test_an_invalid_erasure_names_its_field(users: UserServiceAsyncStub) -> None:
    """EraseUser and CompleteErasure reject an id that is no UUID."""
    with pytest.raises(InvalidRequest) as refusal:
        await users.EraseUser(EraseUserRequest(user_id="ada"))
    assert fields_of(refusal.value) == ["user_id"]
    with pytest.raises(InvalidRequest):
        await users.CompleteErasure(CompleteErasureRequest(user_id=""))


async def test_no_other_service_may_erase_a_user(mesh: MeshForTests) -> None:
    """EraseUser requires the scope user.erase, which no service has."""
    for caller in ("session", "subscription", "user"):
        with pytest.raises(ScopeMissing):
            await mesh.stub(UserServiceStub, caller=caller).EraseUser(EraseUserRequest(user_id=str(uuid4())))
