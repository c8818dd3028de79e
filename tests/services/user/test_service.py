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
    """Serve once for all calls that are refused and leave nothing."""
    return (await serve_module(SERVICE)).stub(UserServiceStub)


@pytest.fixture
def users(mesh: MeshForTests) -> Users:
    """Call it as an operator who may do everything."""
    return mesh.stub(UserServiceStub)


def a_user(email: str = "Ada@example.org", **fields: Any) -> CreateUserRequest:  # noqa: ANN401 - any field
    """Ask for a user called Ada."""
    return CreateUserRequest(**{"email": email, "display_name": "Ada", **fields})


async def added(users: Users, email: str = "Ada@example.org", **fields: Any) -> User:  # noqa: ANN401 - any field
    """Add a user and return it."""
    return (await users.CreateUser(a_user(email, **fields))).user


def change(user: User, *mask: str, **fields: Any) -> UpdateUserRequest:  # noqa: ANN401 - any field
    """Ask for a change of the fields in the mask, or of all that are given."""
    return UpdateUserRequest(
        user=User(user_id=user.user_id, **fields), update_mask=FieldMask(paths=mask or tuple(fields))
    )


async def changed(users: Users, user: User, *mask: str, **fields: Any) -> User:  # noqa: ANN401 - any field
    """Change a user and return it."""
    return (await users.UpdateUser(change(user, *mask, **fields))).user


async def stored(users: Users, user: User) -> User:
    """Return a user as stored now."""
    return (await users.GetUser(GetUserRequest(user_id=user.user_id))).user


def fields_of(error: ServiceError) -> list[str]:
    """List the fields that an error names."""
    return [violation.field for violation in error.violations]


@pytest.mark.requirement("C1")
async def test_a_user_is_added_and_found(users: Users) -> None:
    """CreateUser answers with the whole user, and both ways to look for it with the same."""
    created = await added(users, roles=[ROLE_OWNER, ROLE_MEMBER], time_zone="Europe/London")

    assert await stored(users, created) == created
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
async def test_a_user_is_a_member_in_utc_unless_told_otherwise(users: Users) -> None:
    """The defaults of roles and time_zone."""
    created = await added(users)

    assert list(created.roles) == [ROLE_MEMBER]
    assert created.time_zone == "UTC"


@pytest.mark.requirement("C1")
def test_roles_and_states_are_those_of_the_contract() -> None:
    """The service knows every role and state that the contract has, and no other."""
    assert {"ROLE_UNSPECIFIED", *Role} == set(user_pb2.Role.keys())
    assert {"USER_STATE_UNSPECIFIED", *State} == set(user_pb2.UserState.keys())


@pytest.mark.requirement("C1")
@pytest.mark.parametrize("roles", [[ROLE_MEMBER], [ROLE_ADMIN], [ROLE_OWNER], [ROLE_MEMBER, ROLE_ADMIN, ROLE_OWNER]])
async def test_every_role_can_be_stored(users: Users, roles: list[user_pb2.Role.ValueType]) -> None:
    """Each role of the contract is one of the database too."""
    created = await added(users, roles=roles)

    assert set((await stored(users, created)).roles) == set(roles)


async def test_an_address_is_given_once(users: Users) -> None:
    """EMAIL_TAKEN: addresses are equal without regard to case; the refusal does not repeat the address."""
    await added(users)

    with pytest.raises(EmailTaken) as refusal:
        await added(users, "ada@EXAMPLE.ORG")

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
async def test_an_address_is_one_address_however_it_is_written(users: Users, email: str, same: str) -> None:
    """EMAIL_TAKEN: forms that mail delivers to one mailbox are one address, also when it is looked for."""
    created = await added(users, email)

    with pytest.raises(EmailTaken):
        await added(users, same)
    assert (await users.GetUserByEmail(GetUserByEmailRequest(email=same))).user == created


async def test_two_domains_are_two_addresses_however_alike(users: Users) -> None:
    """Folding the case of a domain in Unicode would make one address of two: faß.example is not fass.example."""
    sharp, double = await added(users, "ada@faß.example"), await added(users, "ada@fass.example")

    assert sharp.user_id != double.user_id
    assert (await users.GetUserByEmail(GetUserByEmailRequest(email="ada@faß.example"))).user == sharp


async def test_of_many_who_want_one_address_at_once_one_gets_it(users: Users) -> None:
    """EMAIL_TAKEN holds under a race too: the database decides."""
    answers = await asyncio.gather(*[users.CreateUser(a_user()) for _ in range(20)], return_exceptions=True)

    assert sum(isinstance(answer, EmailTaken) for answer in answers) == 19


@pytest.mark.requirement("S6")
async def test_a_repeated_creation_gets_the_first_answer(users: Users) -> None:
    """The same caller, key and request add one user, however often and however close together they come."""
    key = (("idempotency-key", "sign-up-1"),)

    answers = await asyncio.gather(*[users.CreateUser(a_user(), metadata=key) for _ in range(8)])

    assert len({answer.SerializeToString(deterministic=True) for answer in answers}) == 1


async def test_a_key_does_not_add_two_different_users(users: Users) -> None:
    """A key that comes again with another request is refused."""
    key = (("idempotency-key", "sign-up-1"),)
    await users.CreateUser(a_user(), metadata=key)

    with pytest.raises(IdempotencyKeyReused):
        await users.CreateUser(a_user(display_name="Augusta"), metadata=key)


@pytest.mark.requirement("S6")
async def test_callers_do_not_share_their_keys(mesh: MeshForTests, users: Users) -> None:
    """Two callers with the same key are two calls: the second is refused for the address, not answered."""
    key = (("idempotency-key", "sign-up-1"),)
    await users.CreateUser(a_user(), metadata=key)

    with pytest.raises(EmailTaken):
        await mesh.stub(UserServiceStub, caller="auth").CreateUser(a_user(), metadata=key)


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
async def test_a_user_that_cannot_be_is_refused_by_field(
    shared_users: Users, fields: dict[str, Any], field: str
) -> None:
    """Each bad field is named."""
    with pytest.raises(InvalidRequest) as refusal:
        await shared_users.CreateUser(a_user(**fields))

    assert set(fields_of(refusal.value)) == {field}


async def test_an_unknown_user_is_not_found(users: Users) -> None:
    """USER_NOT_FOUND from every method that has to find one."""
    nobody = User(user_id=str(uuid4()))

    with pytest.raises(UserNotFound):
        await stored(users, nobody)
    with pytest.raises(UserNotFound):
        await users.GetUserByEmail(GetUserByEmailRequest(email="nobody@example.org"))
    with pytest.raises(UserNotFound):
        await users.CheckRoles(CheckRolesRequest(user_id=nobody.user_id, roles=[ROLE_ADMIN], match=ROLE_MATCH_ANY))
    with pytest.raises(UserNotFound):
        await changed(users, nobody, display_name="Nobody")


@pytest.mark.requirement("C3")
async def test_what_is_no_id_and_no_address_is_refused(users: Users) -> None:
    """The field is named, for each method that looks for a user."""
    with pytest.raises(InvalidRequest) as by_id:
        await users.GetUser(GetUserRequest(user_id="ada"))
    with pytest.raises(InvalidRequest) as by_email:
        await users.GetUserByEmail(GetUserByEmailRequest(email="ada"))
    with pytest.raises(InvalidRequest) as validated:
        await users.ValidateUser(ValidateUserRequest(user_id="ada"))

    assert [fields_of(error.value) for error in (by_id, by_email, validated)] == [["user_id"], ["email"], ["user_id"]]


@pytest.mark.requirement("C1")
async def test_many_users_come_in_the_order_asked_for(users: Users) -> None:
    """BatchGetUsers lists who exists and who does not, each in the order of the request."""
    one, two, three = [await added(users, f"{name}@example.org") for name in ("one", "two", "three")]
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
async def test_a_batch_is_one_to_a_hundred_different_ids(users: Users, user_ids: list[str], field: str) -> None:
    """Anything else is refused by field."""
    with pytest.raises(InvalidRequest) as refusal:
        await users.BatchGetUsers(BatchGetUsersRequest(user_ids=user_ids))

    assert fields_of(refusal.value) == [field]


@pytest.mark.requirement("C1")
async def test_a_user_is_valid_while_active(users: Users) -> None:
    """ValidateUser answers for everyone, also for those who do not exist."""
    user = await added(users)

    for state in (USER_STATE_ACTIVE, USER_STATE_SUSPENDED, USER_STATE_DELETED):
        await changed(users, user, state=state)
        answer = await users.ValidateUser(ValidateUserRequest(user_id=user.user_id))
        assert (answer.valid, answer.state) == (state == USER_STATE_ACTIVE, state)

    answer = await users.ValidateUser(ValidateUserRequest(user_id=str(uuid4())))
    assert (answer.valid, answer.state) == (False, USER_STATE_UNSPECIFIED)


@pytest.mark.requirement("C1")
async def test_roles_are_checked_as_any_or_all(users: Users) -> None:
    """CheckRoles says whether the user may, and which of the roles are missing, in the order of the request."""
    user = await added(users, roles=[ROLE_MEMBER, ROLE_OWNER])

    async def check(match: user_pb2.RoleMatch.ValueType, *roles: user_pb2.Role.ValueType) -> CheckRolesResponse:
        return await users.CheckRoles(CheckRolesRequest(user_id=user.user_id, roles=roles, match=match))

    assert await check(ROLE_MATCH_ANY, ROLE_ADMIN, ROLE_OWNER) == CheckRolesResponse(
        allowed=True, missing_roles=[ROLE_ADMIN]
    )
    assert await check(ROLE_MATCH_ALL, ROLE_ADMIN, ROLE_OWNER) == CheckRolesResponse(
        allowed=False, missing_roles=[ROLE_ADMIN]
    )
    assert await check(ROLE_MATCH_ALL, ROLE_OWNER, ROLE_MEMBER) == CheckRolesResponse(allowed=True)
    await changed(users, user, state=USER_STATE_SUSPENDED)
    assert await check(ROLE_MATCH_ANY, ROLE_OWNER) == CheckRolesResponse(allowed=False)


@pytest.mark.requirement("C3")
@pytest.mark.parametrize(
    ("fields", "field"),
    [({"roles": []}, "roles"), ({"roles": [0]}, "roles[0]"), ({"match": 0}, "match"), ({"user_id": "ada"}, "user_id")],
)
async def test_a_check_of_roles_has_to_say_what_it_asks(users: Users, fields: dict[str, Any], field: str) -> None:
    """Roles, the way to match them and the user are needed."""
    asked = {"user_id": str(uuid4()), "roles": [ROLE_ADMIN], "match": ROLE_MATCH_ANY, **fields}

    with pytest.raises(InvalidRequest) as refusal:
        await users.CheckRoles(CheckRolesRequest(**asked))

    assert fields_of(refusal.value) == [field]


async def test_only_the_fields_in_the_mask_change(users: Users) -> None:
    """AIP-134: what stands in the message but not in the mask is not looked at."""
    user = await added(users, time_zone="Europe/London")

    after = await changed(
        users, user, "display_name", display_name="Countess", time_zone="Nowhere/AtAll", email="x@y.zz"
    )

    expected = User()
    expected.CopyFrom(user)
    expected.display_name = "Countess"
    expected.update_time.CopyFrom(after.update_time)
    assert after == expected
    assert after.update_time.ToNanoseconds() > user.update_time.ToNanoseconds()
    assert await stored(users, user) == after


@pytest.mark.requirement("C1")
async def test_every_field_can_change_at_once(users: Users) -> None:
    """UpdateUser answers with the whole user as stored."""
    user = await added(users)
    new: dict[str, Any] = {
        "email": "grace@example.org",
        "display_name": "Grace",
        "roles": [ROLE_ADMIN],
        "state": USER_STATE_SUSPENDED,
        "email_confirmed": True,
        "time_zone": "America/New_York",
    }

    after = await changed(users, user, **new)

    assert after == User(user_id=user.user_id, create_time=user.create_time, update_time=after.update_time, **new)
    assert await stored(users, user) == after


async def test_a_new_address_is_unconfirmed_and_findable(users: Users) -> None:
    """A change of `email` takes email_confirmed back; the old address is free for someone else."""
    user = await changed(users, await added(users), email_confirmed=True)
    assert user.email_confirmed

    user = await changed(users, user, email="ada@example.net")

    assert not user.email_confirmed
    assert (await users.GetUserByEmail(GetUserByEmailRequest(email="ADA@example.net"))).user == user
    assert (await added(users)).user_id != user.user_id


async def test_a_user_who_left_can_sign_up_again(users: Users) -> None:
    """The address of a user who left is free: a new user gets it, and the old one keeps the id and the name."""
    left = await changed(users, await added(users, display_name="Ada Lovelace"), state=USER_STATE_DELETED)

    again = await added(users, "ADA@example.org")

    assert again.user_id != left.user_id
    assert again.state == USER_STATE_ACTIVE
    assert not again.email_confirmed
    assert (await users.GetUserByEmail(GetUserByEmailRequest(email=left.email))).user == again
    assert await stored(users, left) == left
    with pytest.raises(EmailTaken):
        await added(users)


async def test_an_address_finds_nobody_who_left(users: Users) -> None:
    """USER_NOT_FOUND: a user who left has no address; a suspended user keeps it."""
    user = await changed(users, await added(users), state=USER_STATE_SUSPENDED)
    by_email = GetUserByEmailRequest(email=user.email)
    assert (await users.GetUserByEmail(by_email)).user == user
    with pytest.raises(EmailTaken):
        await added(users)

    await changed(users, user, state=USER_STATE_DELETED)

    with pytest.raises(UserNotFound):
        await users.GetUserByEmail(by_email)


async def test_a_user_who_left_can_change_although_the_address_is_another_users(users: Users) -> None:
    """Only a return needs the address: EMAIL_TAKEN then, and nothing else of the old account is stuck."""
    left = await changed(users, await added(users), state=USER_STATE_DELETED)
    await added(users)

    assert (await changed(users, left, display_name="Gone")).display_name == "Gone"
    with pytest.raises(EmailTaken):
        await changed(users, left, state=USER_STATE_ACTIVE)


async def test_any_number_of_accounts_can_leave_one_address(users: Users) -> None:
    """The same person may join and leave again and again."""
    for _ in range(3):
        await changed(users, await added(users), state=USER_STATE_DELETED)

    assert (await added(users)).state == USER_STATE_ACTIVE


async def test_of_many_who_want_the_address_of_a_leaver_one_gets_it(users: Users) -> None:
    """EMAIL_TAKEN holds under a race for a freed address too."""
    await changed(users, await added(users), state=USER_STATE_DELETED)

    answers = await asyncio.gather(*[users.CreateUser(a_user()) for _ in range(20)], return_exceptions=True)

    assert sum(isinstance(answer, EmailTaken) for answer in answers) == 19


async def test_a_confirmation_can_be_taken_back(users: Users) -> None:
    """AIP-134: a field in the mask that is false or empty in the message becomes so, where that is allowed."""
    user = await changed(users, await added(users), email_confirmed=True)

    assert not (await changed(users, user, "email_confirmed")).email_confirmed


async def test_a_repeated_change_changes_nothing_more(users: Users) -> None:
    """UpdateUser is IDEMPOTENT: the answer to a retry is the same, to the microsecond."""
    user = await added(users)

    assert await changed(users, user, display_name="Grace") == await changed(users, user, display_name="Grace")


async def test_an_address_of_someone_else_is_refused(users: Users) -> None:
    """EMAIL_TAKEN from UpdateUser: nothing changes; a user's own address in other letters is no one else's."""
    ada, grace = await added(users), await added(users, "grace@example.org")

    with pytest.raises(EmailTaken):
        await changed(users, grace, email="ADA@example.org", display_name="Impostor")

    assert await stored(users, grace) == grace
    assert (await changed(users, ada, email="ADA@example.org")).email == "ADA@example.org"


async def test_of_many_who_change_to_one_address_at_once_one_gets_it(users: Users) -> None:
    """EMAIL_TAKEN holds under a race of changes too."""
    everyone = [await added(users, f"user{number}@example.org") for number in range(10)]

    answers = await asyncio.gather(
        *[changed(users, user, email="wanted@example.org") for user in everyone], return_exceptions=True
    )

    assert sum(isinstance(answer, EmailTaken) for answer in answers) == 9
    assert sum(isinstance(answer, User) for answer in answers) == 1


async def test_changes_of_different_fields_do_not_undo_each_other(users: Users) -> None:
    """Changes at the same time follow one another: the row is locked from reading to writing."""
    user = await added(users)
    changes = [
        change(user, display_name="Grace"),
        change(user, time_zone="Asia/Tokyo"),
        change(user, roles=[ROLE_ADMIN]),
        change(user, email_confirmed=True),
        change(user, state=USER_STATE_SUSPENDED),
    ]

    await asyncio.gather(*map(users.UpdateUser, changes))

    after = await stored(users, user)
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
async def test_a_change_that_cannot_be_is_refused_by_field(
    users: Users, mask: tuple[str, ...], fields: dict[str, Any], field: str
) -> None:
    """Unknown and immutable fields, emptied fields and bad values are invalid requests; nothing changes."""
    user = await added(users)
    request = UpdateUserRequest(user=User(**{"user_id": user.user_id, **fields}), update_mask=FieldMask(paths=mask))

    with pytest.raises(InvalidRequest) as refusal:
        await users.UpdateUser(request)

    assert field in fields_of(refusal.value)
    assert await stored(users, user) == user


@pytest.mark.requirement("S1")
async def test_who_may_only_read_users_cannot_change_one(mesh: MeshForTests) -> None:
    """CreateUser and UpdateUser ask for the scope user.write, which the session service has no need of."""
    users = mesh.stub(UserServiceStub, caller="session")

    with pytest.raises(ScopeMissing):
        await users.CreateUser(a_user())
    with pytest.raises(ScopeMissing):
        await changed(users, User(user_id=str(uuid4())), display_name="Ada")
