from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask

from contracts.errors import EmailTaken, IdempotencyKeyReused, InvalidRequest, ScopeMissing, ServiceError, UserNotFound
from services.user.app import SERVICE
from services.user.domain import Role, State
from solo60.user.v1 import user_pb2
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
    CreateUserRequest,
    GetUserByEmailRequest,
    GetUserRequest,
    UpdateUserRequest,
    User,
    ValidateUserRequest,
)
from solo60.user.v1.user_pb2_grpc import UserServiceStub

if TYPE_CHECKING:
    from solo60.user.v1.user_pb2_grpc import UserServiceAsyncStub
    from tests.support.serving import MeshForTests, Serve

Users: TypeAlias = "UserServiceAsyncStub"


@pytest.fixture
async def mesh(serve: Serve) -> MeshForTests:
    """Run the user service."""
    return await serve(SERVICE)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_users(serve_module: Serve) -> Users:
    """Serve once for all calls that are rejected and change nothing."""
    return (await serve_module(SERVICE)).stub(UserServiceStub)


@pytest.fixture
def users(mesh: MeshForTests) -> Users:
    """Return a stub with every scope."""
    return mesh.stub(UserServiceStub)


def create_request(email: str = "Ada@example.org", **fields: Any) -> CreateUserRequest:
    """Return a request to create a user called Ada."""
    return CreateUserRequest(**{"email": email, "display_name": "Ada", **fields})


async def add_user(users: Users, email: str = "Ada@example.org", **fields: Any) -> User:
    """Add a user and return it."""
    return (await users.CreateUser(create_request(email, **fields))).user


def update_request(user: User, *mask: str, **fields: Any) -> UpdateUserRequest:
    """Return a request to change the fields in the mask, by default all given fields."""
    return UpdateUserRequest(
        user=User(user_id=user.user_id, **fields), update_mask=FieldMask(paths=mask or tuple(fields))
    )


async def update_user(users: Users, user: User, *mask: str, **fields: Any) -> User:
    """Change a user and return it."""
    return (await users.UpdateUser(update_request(user, *mask, **fields))).user


async def get_user(users: Users, user: User) -> User:
    """Return a user as stored now."""
    return (await users.GetUser(GetUserRequest(user_id=user.user_id))).user


def fields_of(error: ServiceError) -> list[str]:
    """Return the fields that an error names."""
    return [violation.field for violation in error.violations]


@pytest.mark.requirement("C1")
async def test_a_user_is_added_and_found(users: Users) -> None:
    """CreateUser returns the whole user, and GetUser and GetUserByEmail return the same."""
    created = await add_user(users, roles=[ROLE_OWNER, ROLE_MEMBER], time_zone="Europe/London")

    assert await get_user(users, created) == created
    assert (await users.GetUserByEmail(GetUserByEmailRequest(email="ada@EXAMPLE.org"))).user == created
    assert str(UUID(created.user_id)) == created.user_id
    assert created == User(
        user_id=created.user_id,
        email="Ada@example.org",
        display_name="Ada",
        roles=[ROLE_MEMBER, ROLE_OWNER],
        state=USER_STATE_ACTIVE,
        email_confirmed=False,
        time_zone="Europe/London",
        create_time=created.create_time,
        update_time=created.create_time,
    )


@pytest.mark.requirement("C1")
async def test_a_user_is_by_default_a_member_in_utc(users: Users) -> None:
    """A user created without roles and time zone is a member in UTC."""
    created = await add_user(users)

    assert list(created.roles) == [ROLE_MEMBER]
    assert created.time_zone == "UTC"


@pytest.mark.requirement("C1")
def test_roles_and_states_are_those_of_the_contract() -> None:
    """The service knows exactly the roles and states of the contract."""
    assert {"ROLE_UNSPECIFIED", *Role} == set(user_pb2.Role.keys())
    assert {"USER_STATE_UNSPECIFIED", *State} == set(user_pb2.UserState.keys())


@pytest.mark.requirement("C1")
@pytest.mark.parametrize("roles", [[ROLE_MEMBER], [ROLE_ADMIN], [ROLE_OWNER], [ROLE_MEMBER, ROLE_ADMIN, ROLE_OWNER]])
async def test_every_role_can_be_stored(users: Users, roles: list[user_pb2.Role.ValueType]) -> None:
    """The database accepts each role of the contract."""
    created = await add_user(users, roles=roles)

    assert set((await get_user(users, created)).roles) == set(roles)


async def test_an_address_belongs_to_one_user(users: Users) -> None:
    """An address in another case fails with EMAIL_TAKEN, and the error does not repeat the address."""
    await add_user(users)

    with pytest.raises(EmailTaken) as refusal:
        await add_user(users, "ada@EXAMPLE.ORG")

    assert "example" not in str(refusal.value).casefold()


@pytest.mark.parametrize(
    ("email", "same"),
    [
        ("user@bücher.example", "User@xn--bcher-kva.example"),
        ("user@xn--bcher-kva.example", "user@BÜCHER.example"),
        ("a..b@docomo.ne.jp", '"a..b"@docomo.ne.jp'),
        ('"ada"@example.org', "ada@example.org"),
    ],
)
async def test_equivalent_spellings_are_one_address(users: Users, email: str, same: str) -> None:
    """Spellings that mail delivers to one mailbox are one address, for EMAIL_TAKEN and for GetUserByEmail."""
    created = await add_user(users, email)

    with pytest.raises(EmailTaken):
        await add_user(users, same)
    assert (await users.GetUserByEmail(GetUserByEmailRequest(email=same))).user == created


async def test_similar_domains_are_different_addresses(users: Users) -> None:
    """Domains are not case-folded as Unicode, because that would make faß.example and fass.example one address."""
    sharp, double = await add_user(users, "ada@faß.example"), await add_user(users, "ada@fass.example")

    assert sharp.user_id != double.user_id
    assert (await users.GetUserByEmail(GetUserByEmailRequest(email="ada@faß.example"))).user == sharp


async def test_one_of_twenty_concurrent_users_gets_an_address(users: Users) -> None:
    """Of twenty concurrent users with one address, one is created and nineteen fail with EMAIL_TAKEN."""
    answers = await asyncio.gather(*[users.CreateUser(create_request()) for _ in range(20)], return_exceptions=True)

    assert sum(isinstance(answer, EmailTaken) for answer in answers) == 19


@pytest.mark.requirement("S6")
async def test_a_repeated_creation_gets_the_first_answer(users: Users) -> None:
    """Eight concurrent requests with one key create one user and get the same answer."""
    key = (("idempotency-key", "sign-up-1"),)

    answers = await asyncio.gather(*[users.CreateUser(create_request(), metadata=key) for _ in range(8)])

    assert len({answer.SerializeToString(deterministic=True) for answer in answers}) == 1


async def test_a_key_cannot_create_two_different_users(users: Users) -> None:
    """Reusing a key with another request fails with IDEMPOTENCY_KEY_REUSED."""
    key = (("idempotency-key", "sign-up-1"),)
    await users.CreateUser(create_request(), metadata=key)

    with pytest.raises(IdempotencyKeyReused):
        await users.CreateUser(create_request(display_name="Augusta"), metadata=key)


@pytest.mark.requirement("S6")
async def test_callers_do_not_share_keys(mesh: MeshForTests, users: Users) -> None:
    """Another caller's request with the same key is not a repetition, and fails because the address is taken."""
    key = (("idempotency-key", "sign-up-1"),)
    await users.CreateUser(create_request(), metadata=key)

    with pytest.raises(EmailTaken):
        await mesh.stub(UserServiceStub, caller="auth").CreateUser(create_request(), metadata=key)


@pytest.mark.requirement("C3")
@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"email": "ada"}, "email"),
        ({"email": ""}, "email"),
        ({"email": f"ada@{'x' * 250}.org"}, "email"),
        ({"email": "jürgen@example.org"}, "email"),
        ({"email": "ada@localhost"}, "email"),
        ({"email": f"{'x' * 65}@example.org"}, "email"),
        ({"email": "ada@[192.0.2.1]"}, "email"),
        ({"display_name": ""}, "display_name"),
        ({"display_name": "A\x00da"}, "display_name"),
        ({"display_name": "Dana\n\nYour card was declined."}, "display_name"),
        ({"display_name": "Dana\u2028Demo"}, "display_name"),
        ({"display_name": "Dana\u202eomeD"}, "display_name"),
        ({"display_name": " \u200d\u3164 "}, "display_name"),
        ({"display_name": "A" * 101}, "display_name"),
        ({"roles": [0]}, "roles[0]"),
        ({"roles": [99]}, "roles[0]"),
        ({"roles": [ROLE_MEMBER, ROLE_MEMBER]}, "roles"),
        ({"time_zone": "Europe/Londinium"}, "time_zone"),
        ({"time_zone": "../UTC"}, "time_zone"),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_an_invalid_user_names_its_field(shared_users: Users, fields: dict[str, Any], field: str) -> None:
    """CreateUser rejects an invalid user with violations that name only the bad field."""
    with pytest.raises(InvalidRequest) as refusal:
        await shared_users.CreateUser(create_request(**fields))

    assert set(fields_of(refusal.value)) == {field}


async def test_an_unknown_user_is_not_found(users: Users) -> None:
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
async def test_an_invalid_id_or_address_names_its_field(users: Users) -> None:
    """Every method that looks up a user rejects an invalid id or address and names the field."""
    with pytest.raises(InvalidRequest) as by_id:
        await users.GetUser(GetUserRequest(user_id="ada"))
    with pytest.raises(InvalidRequest) as by_email:
        await users.GetUserByEmail(GetUserByEmailRequest(email="ada"))
    with pytest.raises(InvalidRequest) as validated:
        await users.ValidateUser(ValidateUserRequest(user_id="ada"))

    assert [fields_of(error.value) for error in (by_id, by_email, validated)] == [["user_id"], ["email"], ["user_id"]]


@pytest.mark.requirement("C1")
async def test_a_batch_is_returned_in_the_requested_order(users: Users) -> None:
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
async def test_a_batch_needs_one_to_a_hundred_distinct_ids(users: Users, user_ids: list[str], field: str) -> None:
    """An empty, repeated, too long or invalid list of ids is rejected with a violation that names the field."""
    with pytest.raises(InvalidRequest) as refusal:
        await users.BatchGetUsers(BatchGetUsersRequest(user_ids=user_ids))

    assert fields_of(refusal.value) == [field]


@pytest.mark.requirement("C1")
async def test_a_user_is_valid_while_active(users: Users) -> None:
    """ValidateUser returns whether a user is active, with the state, and does not fail for an unknown user."""
    user = await add_user(users)

    for state in (USER_STATE_ACTIVE, USER_STATE_SUSPENDED, USER_STATE_DELETED):
        await update_user(users, user, state=state)
        answer = await users.ValidateUser(ValidateUserRequest(user_id=user.user_id))
        assert (answer.valid, answer.state) == (state == USER_STATE_ACTIVE, state)

    answer = await users.ValidateUser(ValidateUserRequest(user_id=str(uuid4())))
    assert (answer.valid, answer.state) == (False, USER_STATE_UNSPECIFIED)


@pytest.mark.requirement("C1")
async def test_roles_are_checked_as_any_or_all(users: Users) -> None:
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
async def test_an_incomplete_role_check_names_its_field(users: Users, fields: dict[str, Any], field: str) -> None:
    """CheckRoles requires roles, the way to match them and a user id, and names the bad field."""
    given = {"user_id": str(uuid4()), "roles": [ROLE_ADMIN], "match": ROLE_MATCH_ANY, **fields}

    with pytest.raises(InvalidRequest) as refusal:
        await users.CheckRoles(CheckRolesRequest(**given))

    assert fields_of(refusal.value) == [field]


async def test_only_the_fields_in_the_mask_change(users: Users) -> None:
    """Fields that are in the message but not in the mask are ignored, even invalid ones (AIP-134)."""
    user = await add_user(users, time_zone="Europe/London")

    after = await update_user(
        users, user, "display_name", display_name="Countess", time_zone="Nowhere/AtAll", email="x@y.zz"
    )

    expected = User()
    expected.CopyFrom(user)
    expected.display_name = "Countess"
    expected.update_time.CopyFrom(after.update_time)
    assert after == expected
    assert after.update_time.ToNanoseconds() > user.update_time.ToNanoseconds()
    assert await get_user(users, user) == after


@pytest.mark.requirement("C1")
async def test_all_fields_can_change_at_once(users: Users) -> None:
    """UpdateUser can change every mutable field at once, and returns the user as stored."""
    user = await add_user(users)
    new: dict[str, Any] = {
        "email": "grace@example.org",
        "display_name": "Grace",
        "roles": [ROLE_ADMIN],
        "state": USER_STATE_SUSPENDED,
        "email_confirmed": True,
        "time_zone": "America/New_York",
    }

    after = await update_user(users, user, **new)

    assert after == User(user_id=user.user_id, create_time=user.create_time, update_time=after.update_time, **new)
    assert await get_user(users, user) == after


async def test_a_new_address_is_unconfirmed_and_can_be_found(users: Users) -> None:
    """A new address is unconfirmed and finds its user, and the old address can be used by another user."""
    user = await update_user(users, await add_user(users), email_confirmed=True)
    assert user.email_confirmed

    user = await update_user(users, user, email="ada@example.net")

    assert not user.email_confirmed
    assert (await users.GetUserByEmail(GetUserByEmailRequest(email="ADA@example.net"))).user == user
    assert (await add_user(users)).user_id != user.user_id


async def test_a_deleted_users_address_can_be_used_again(users: Users) -> None:
    """A new user may take the address of a deleted user. The deleted account stays unchanged."""
    left = await update_user(users, await add_user(users, display_name="Ada Lovelace"), state=USER_STATE_DELETED)

    again = await add_user(users, "ADA@example.org")

    assert again.user_id != left.user_id
    assert again.state == USER_STATE_ACTIVE
    assert not again.email_confirmed
    assert (await users.GetUserByEmail(GetUserByEmailRequest(email=left.email))).user == again
    assert await get_user(users, left) == left
    with pytest.raises(EmailTaken):
        await add_user(users)


async def test_an_address_does_not_find_a_deleted_user(users: Users) -> None:
    """GetUserByEmail finds a suspended user, but fails with USER_NOT_FOUND for a deleted one."""
    user = await update_user(users, await add_user(users), state=USER_STATE_SUSPENDED)
    by_email = GetUserByEmailRequest(email=user.email)
    assert (await users.GetUserByEmail(by_email)).user == user
    with pytest.raises(EmailTaken):
        await add_user(users)

    await update_user(users, user, state=USER_STATE_DELETED)

    with pytest.raises(UserNotFound):
        await users.GetUserByEmail(by_email)


async def test_a_deleted_user_can_change_although_the_address_is_taken(users: Users) -> None:
    """A deleted user can be changed after another user took the address. Only reactivation fails with EMAIL_TAKEN."""
    left = await update_user(users, await add_user(users), state=USER_STATE_DELETED)
    await add_user(users)

    assert (await update_user(users, left, display_name="Gone")).display_name == "Gone"
    with pytest.raises(EmailTaken):
        await update_user(users, left, state=USER_STATE_ACTIVE)


async def test_several_deleted_accounts_may_share_an_address(users: Users) -> None:
    """One address can be used, deleted and used again any number of times."""
    for _ in range(3):
        await update_user(users, await add_user(users), state=USER_STATE_DELETED)

    assert (await add_user(users)).state == USER_STATE_ACTIVE


async def test_one_of_twenty_concurrent_users_gets_a_released_address(users: Users) -> None:
    """Of twenty concurrent users with the address of a deleted user, one is created."""
    await update_user(users, await add_user(users), state=USER_STATE_DELETED)

    answers = await asyncio.gather(*[users.CreateUser(create_request()) for _ in range(20)], return_exceptions=True)

    assert sum(isinstance(answer, EmailTaken) for answer in answers) == 19


async def test_a_confirmation_can_be_withdrawn(users: Users) -> None:
    """A field in the mask that is false in the message is set to false (AIP-134)."""
    user = await update_user(users, await add_user(users), email_confirmed=True)

    assert not (await update_user(users, user, "email_confirmed")).email_confirmed


async def test_a_repeated_change_gets_the_same_answer(users: Users) -> None:
    """Repeating an update returns the same user, with the same `update_time`."""
    user = await add_user(users)

    assert await update_user(users, user, display_name="Grace") == await update_user(users, user, display_name="Grace")


async def test_another_users_address_is_rejected(users: Users) -> None:
    """Changing to another user's address fails with EMAIL_TAKEN and changes nothing.

    Users may change the case of their own address.
    """
    ada, grace = await add_user(users), await add_user(users, "grace@example.org")

    with pytest.raises(EmailTaken):
        await update_user(users, grace, email="ADA@example.org", display_name="Impostor")

    assert await get_user(users, grace) == grace
    assert (await update_user(users, ada, email="ADA@example.org")).email == "ADA@example.org"


async def test_one_of_ten_concurrent_changes_gets_an_address(users: Users) -> None:
    """Of ten concurrent changes to one address one succeeds, and nine fail with EMAIL_TAKEN."""
    everyone = [await add_user(users, f"user{number}@example.org") for number in range(10)]

    answers = await asyncio.gather(
        *[update_user(users, user, email="wanted@example.org") for user in everyone], return_exceptions=True
    )

    assert sum(isinstance(answer, EmailTaken) for answer in answers) == 9
    assert sum(isinstance(answer, User) for answer in answers) == 1


async def test_concurrent_changes_of_different_fields_all_persist(users: Users) -> None:
    """Concurrent changes of different fields are all stored, because each locks the row before it reads it."""
    user = await add_user(users)
    changes = [
        update_request(user, display_name="Grace"),
        update_request(user, time_zone="Asia/Tokyo"),
        update_request(user, roles=[ROLE_ADMIN]),
        update_request(user, email_confirmed=True),
        update_request(user, state=USER_STATE_SUSPENDED),
    ]

    await asyncio.gather(*map(users.UpdateUser, changes))

    after = await get_user(users, user)
    assert (after.display_name, after.time_zone, list(after.roles), after.email_confirmed, after.state) == (
        "Grace",
        "Asia/Tokyo",
        [ROLE_ADMIN],
        True,
        USER_STATE_SUSPENDED,
    )


@pytest.mark.requirement("C3")
@pytest.mark.parametrize(
    ("mask", "fields", "field"),
    [
        ((), {}, "update_mask"),
        (("user_id",), {}, "update_mask"),
        (("create_time",), {}, "update_mask"),
        (("nickname",), {}, "update_mask"),
        (("email",), {}, ""),
        (("roles",), {}, ""),
        (("state",), {}, ""),
        (("email",), {"email": "ada"}, "user.email"),
        (("roles",), {"roles": [99]}, "user.roles[0]"),
        (("state",), {"state": 99}, "user.state"),
        (("time_zone",), {"time_zone": "Europe/Londinium"}, "user.time_zone"),
        (("display_name",), {"display_name": "\x00"}, "user.display_name"),
        (("display_name",), {"display_name": "Ada", "user_id": "ada"}, "user.user_id"),
    ],
)
async def test_an_invalid_change_names_its_field(
    users: Users, mask: tuple[str, ...], fields: dict[str, Any], field: str
) -> None:
    """UpdateUser rejects unknown, immutable, cleared and invalid fields, and changes nothing."""
    user = await add_user(users)
    request = UpdateUserRequest(user=User(**{"user_id": user.user_id, **fields}), update_mask=FieldMask(paths=mask))

    with pytest.raises(InvalidRequest) as refusal:
        await users.UpdateUser(request)

    assert field in fields_of(refusal.value)
    assert await get_user(users, user) == user


@pytest.mark.requirement("S1")
async def test_a_caller_with_only_the_read_scope_cannot_write(mesh: MeshForTests) -> None:
    """CreateUser and UpdateUser require the scope user.write, which the session service lacks."""
    users = mesh.stub(UserServiceStub, caller="session")

    with pytest.raises(ScopeMissing):
        await users.CreateUser(create_request())
    with pytest.raises(ScopeMissing):
        await update_user(users, User(user_id=str(uuid4())), display_name="Ada")
