from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from contracts.errors import EmailTaken, IdempotencyKeyReused, InvalidRequest, ScopeMissing
from services.user.domain import Role, State
from solo60.user.v1 import user_pb2
from solo60.user.v1.user_pb2 import (
    ROLE_ADMIN,
    ROLE_MEMBER,
    ROLE_OWNER,
    USER_STATE_ACTIVE,
    GetUserByEmailRequest,
    User,
)
from solo60.user.v1.user_pb2_grpc import UserServiceStub
from tests.services.user.user_requests import add_user, create_request, get_user, update_user
from tests.support.violations import fields_of

if TYPE_CHECKING:
    from solo60.user.v1.user_pb2_grpc import UserServiceAsyncStub
    from tests.support.serving import MeshForTests


@pytest.mark.requirement("C1")
async def test_a_user_is_added_and_found(users: UserServiceAsyncStub) -> None:
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
        etag=created.etag,
    )


@pytest.mark.requirement("C1")
async def test_a_user_is_by_default_a_member_in_utc(users: UserServiceAsyncStub) -> None:
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
async def test_every_role_can_be_stored(users: UserServiceAsyncStub, roles: list[user_pb2.Role.ValueType]) -> None:
    """The database accepts each role of the contract."""
    created = await add_user(users, roles=roles)

    assert set((await get_user(users, created)).roles) == set(roles)


async def test_an_address_belongs_to_one_user(users: UserServiceAsyncStub) -> None:
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
async def test_equivalent_spellings_are_one_address(users: UserServiceAsyncStub, email: str, same: str) -> None:
    """Spellings that mail delivers to one mailbox are one address, for EMAIL_TAKEN and for GetUserByEmail."""
    created = await add_user(users, email)

    with pytest.raises(EmailTaken):
        await add_user(users, same)
    assert (await users.GetUserByEmail(GetUserByEmailRequest(email=same))).user == created


async def test_similar_domains_are_different_addresses(users: UserServiceAsyncStub) -> None:
    """Domains are not case-folded as Unicode, because that would make faß.example and fass.example one address."""
    sharp, double = await add_user(users, "ada@faß.example"), await add_user(users, "ada@fass.example")

    assert sharp.user_id != double.user_id
    assert (await users.GetUserByEmail(GetUserByEmailRequest(email="ada@faß.example"))).user == sharp


async def test_one_of_twenty_concurrent_users_gets_an_address(users: UserServiceAsyncStub) -> None:
    """Of twenty concurrent users with one address, one is created and nineteen fail with EMAIL_TAKEN."""
    answers = await asyncio.gather(*[users.CreateUser(create_request()) for _ in range(20)], return_exceptions=True)

    assert sum(isinstance(answer, EmailTaken) for answer in answers) == 19


@pytest.mark.requirement("S6")
async def test_a_repeated_creation_gets_the_first_answer(users: UserServiceAsyncStub) -> None:
    """Eight concurrent requests with one key create one user and get the same answer."""
    key = (("idempotency-key", "sign-up-1"),)

    answers = await asyncio.gather(*[users.CreateUser(create_request(), metadata=key) for _ in range(8)])

    assert len({answer.SerializeToString(deterministic=True) for answer in answers}) == 1


async def test_a_key_cannot_create_two_different_users(users: UserServiceAsyncStub) -> None:
    """Reusing a key with another request fails with IDEMPOTENCY_KEY_REUSED."""
    key = (("idempotency-key", "sign-up-1"),)
    await users.CreateUser(create_request(), metadata=key)

    with pytest.raises(IdempotencyKeyReused):
        await users.CreateUser(create_request(display_name="Augusta"), metadata=key)


@pytest.mark.requirement("S6")
async def test_callers_do_not_share_keys(mesh: MeshForTests, users: UserServiceAsyncStub) -> None:
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
async def test_an_invalid_user_names_its_field(
    shared_users: UserServiceAsyncStub, fields: dict[str, Any], field: str
) -> None:
    """CreateUser rejects an invalid user with violations that name only the bad field."""
    with pytest.raises(InvalidRequest) as refusal:
        await shared_users.CreateUser(create_request(**fields))

    assert set(fields_of(refusal.value)) == {field}


@pytest.mark.requirement("S1")
async def test_a_caller_with_only_the_read_scope_cannot_write(mesh: MeshForTests) -> None:
    """CreateUser and UpdateUser require the scope user.write, which the session service lacks."""
    users = mesh.stub(UserServiceStub, caller="session")

    with pytest.raises(ScopeMissing):
        await users.CreateUser(create_request())
    with pytest.raises(ScopeMissing):
        await update_user(users, User(user_id=str(uuid4())), display_name="Ada")
