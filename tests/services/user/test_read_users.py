from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from contracts.errors import InvalidRequest, UserNotFound
from solo60.user.v1.user_pb2 import (
    ROLE_ADMIN,
    ROLE_MATCH_ALL,
    ROLE_MATCH_ANY,
    ROLE_MEMBER,
    ROLE_OWNER,
    USER_STATE_ACTIVE,
    USER_STATE_DELETED,
    USER_STATE_SUSPENDED,
    USER_STATE_UNSPECIFIED,
    BatchGetUsersRequest,
    CheckRolesRequest,
    CheckRolesResponse,
    GetUserByEmailRequest,
    GetUserRequest,
    User,
    ValidateUserRequest,
)
from tests.services.user.user_requests import add_user, get_user, update_user
from tests.support.violations import fields_of

if TYPE_CHECKING:
    from solo60.user.v1 import user_pb2
    from solo60.user.v1.user_pb2_grpc import UserServiceAsyncStub


async def test_an_unknown_user_is_not_found(users: UserServiceAsyncStub) -> None:
    """Every method that needs an existing user fails with USER_NOT_FOUND for an unknown one."""
    nobody = User(user_id=str(uuid4()))

    with pytest.raises(UserNotFound):
        await get_user(users, nobody)
    with pytest.raises(UserNotFound):
        await users.GetUserByEmail(GetUserByEmailRequest(email="nobody@example.org"))
    with pytest.raises(UserNotFound):
        await users.CheckRoles(CheckRolesRequest(user_id=nobody.user_id, roles=[ROLE_ADMIN], match=ROLE_MATCH_ANY))
    with pytest.raises(UserNotFound):
        await update_user(users, nobody, display_name="Nobody")


@pytest.mark.requirement("C3")
async def test_an_invalid_id_or_address_names_its_field(users: UserServiceAsyncStub) -> None:
    """Every method that looks up a user rejects an invalid id or address and names the field."""
    with pytest.raises(InvalidRequest) as by_id:
        await users.GetUser(GetUserRequest(user_id="ada"))
    with pytest.raises(InvalidRequest) as by_email:
        await users.GetUserByEmail(GetUserByEmailRequest(email="ada"))
    with pytest.raises(InvalidRequest) as validated:
        await users.ValidateUser(ValidateUserRequest(user_id="ada"))

    assert [fields_of(error.value) for error in (by_id, by_email, validated)] == [["user_id"], ["email"], ["user_id"]]


@pytest.mark.requirement("C1")
async def test_a_batch_is_returned_in_the_requested_order(users: UserServiceAsyncStub) -> None:
    """BatchGetUsers returns existing users and missing ids, each in the order of the request."""
    one, two, three = [await add_user(users, f"{name}@example.org") for name in ("one", "two", "three")]
    nobody, noone = str(uuid4()), str(uuid4())

    answer = await users.BatchGetUsers(
        BatchGetUsersRequest(user_ids=[three.user_id, nobody, one.user_id.upper(), noone, two.user_id])
    )

    assert list(answer.users) == [three, one, two]
    assert list(answer.missing_user_ids) == [nobody, noone]


@pytest.mark.requirement("C3")
@pytest.mark.parametrize(
    ("user_ids", "field"),
    [
        ([], "user_ids"),
        ([str(UUID(int=1))] * 2, "user_ids"),
        ([str(UUID(int=number)) for number in range(101)], "user_ids"),
        ([str(UUID(int=1)), "ada"], "user_ids[1]"),
    ],
)
async def test_a_batch_needs_one_to_a_hundred_distinct_ids(
    users: UserServiceAsyncStub, user_ids: list[str], field: str
) -> None:
    """An empty, repeated, too long or invalid list of ids is rejected with a violation that names the field."""
    with pytest.raises(InvalidRequest) as refusal:
        await users.BatchGetUsers(BatchGetUsersRequest(user_ids=user_ids))

    assert fields_of(refusal.value) == [field]


@pytest.mark.requirement("C1")
async def test_a_user_is_valid_while_active(users: UserServiceAsyncStub) -> None:
    """ValidateUser returns whether a user is active, with the state, and does not fail for an unknown user."""
    user = await add_user(users)

    for state in (USER_STATE_ACTIVE, USER_STATE_SUSPENDED, USER_STATE_DELETED):
        await update_user(users, user, state=state)
        answer = await users.ValidateUser(ValidateUserRequest(user_id=user.user_id))
        assert (answer.valid, answer.state) == (state == USER_STATE_ACTIVE, state)

    answer = await users.ValidateUser(ValidateUserRequest(user_id=str(uuid4())))
    assert (answer.valid, answer.state) == (False, USER_STATE_UNSPECIFIED)


@pytest.mark.requirement("C1")
async def test_roles_are_checked_as_any_or_all(users: UserServiceAsyncStub) -> None:
    """CheckRoles returns whether the user is allowed, and the missing roles in the order of the request."""
    user = await add_user(users, roles=[ROLE_MEMBER, ROLE_OWNER])

    async def check(match: user_pb2.RoleMatch.ValueType, *roles: user_pb2.Role.ValueType) -> CheckRolesResponse:
        return await users.CheckRoles(CheckRolesRequest(user_id=user.user_id, roles=roles, match=match))

    assert await check(ROLE_MATCH_ANY, ROLE_ADMIN, ROLE_OWNER) == CheckRolesResponse(
        allowed=True, missing_roles=[ROLE_ADMIN]
    )
    assert await check(ROLE_MATCH_ALL, ROLE_ADMIN, ROLE_OWNER) == CheckRolesResponse(
        allowed=False, missing_roles=[ROLE_ADMIN]
    )
    assert await check(ROLE_MATCH_ALL, ROLE_OWNER, ROLE_MEMBER) == CheckRolesResponse(allowed=True)
    await update_user(users, user, state=USER_STATE_SUSPENDED)
    assert await check(ROLE_MATCH_ANY, ROLE_OWNER) == CheckRolesResponse(allowed=False)


@pytest.mark.requirement("C3")
@pytest.mark.parametrize(
    ("fields", "field"),
    [({"roles": []}, "roles"), ({"roles": [0]}, "roles[0]"), ({"match": 0}, "match"), ({"user_id": "ada"}, "user_id")],
)
async def test_an_incomplete_role_check_names_its_field(
    users: UserServiceAsyncStub, fields: dict[str, Any], field: str
) -> None:
    """CheckRoles requires roles, the way to match them and a user id, and names the bad field."""
    given = {"user_id": str(uuid4()), "roles": [ROLE_ADMIN], "match": ROLE_MATCH_ANY, **fields}

    with pytest.raises(InvalidRequest) as refusal:
        await users.CheckRoles(CheckRolesRequest(**given))

    assert fields_of(refusal.value) == [field]
