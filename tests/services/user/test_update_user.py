from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from contracts.errors import EmailTaken, EtagMismatch, InvalidRequest, UserNotFound
from solo60.user.v1.user_pb2 import (
    ROLE_ADMIN,
    ROLE_OWNER,
    USER_STATE_ACTIVE,
    USER_STATE_DELETED,
    USER_STATE_SUSPENDED,
    GetUserByEmailRequest,
    UpdateUserRequest,
    User,
)
from tests.services.user.user_requests import add_user, create_request, get_user, update_request, update_user
from tests.support.violations import fields_of

if TYPE_CHECKING:
    from solo60.user.v1.user_pb2_grpc import UserServiceAsyncStub


async def test_only_the_fields_in_the_mask_change(users: UserServiceAsyncStub) -> None:
    """Fields that are in the message but not in the mask are ignored, even invalid ones (AIP-134)."""
    user = await add_user(users, time_zone="Europe/London")

    after = await update_user(
        users, user, "display_name", display_name="Countess", time_zone="Nowhere/AtAll", email="x@y.zz"
    )

    expected = User()
    expected.CopyFrom(user)
    expected.display_name = "Countess"
    expected.update_time.CopyFrom(after.update_time)
    expected.etag = after.etag
    assert after == expected
    assert after.update_time.ToNanoseconds() > user.update_time.ToNanoseconds()
    assert await get_user(users, user) == after


@pytest.mark.requirement("C1")
async def test_all_fields_can_change_at_once(users: UserServiceAsyncStub) -> None:
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

    set_by_service: dict[str, Any] = {
        "create_time": user.create_time,
        "update_time": after.update_time,
        "etag": after.etag,
    }
    assert after == User(user_id=user.user_id, **set_by_service, **new)
    assert await get_user(users, user) == after


async def test_a_new_address_is_unconfirmed_and_can_be_found(users: UserServiceAsyncStub) -> None:
    """A new address is unconfirmed and finds its user, and the old address can be used by another user."""
    user = await update_user(users, await add_user(users), email_confirmed=True)
    assert user.email_confirmed

    user = await update_user(users, user, email="ada@example.net")

    assert not user.email_confirmed
    assert (await users.GetUserByEmail(GetUserByEmailRequest(email="ADA@example.net"))).user == user
    assert (await add_user(users)).user_id != user.user_id


async def test_a_deleted_users_address_can_be_used_again(users: UserServiceAsyncStub) -> None:
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


async def test_an_address_does_not_find_a_deleted_user(users: UserServiceAsyncStub) -> None:
    """GetUserByEmail finds a suspended user, but fails with USER_NOT_FOUND for a deleted one."""
    user = await update_user(users, await add_user(users), state=USER_STATE_SUSPENDED)
    by_email = GetUserByEmailRequest(email=user.email)
    assert (await users.GetUserByEmail(by_email)).user == user
    with pytest.raises(EmailTaken):
        await add_user(users)

    await update_user(users, user, state=USER_STATE_DELETED)

    with pytest.raises(UserNotFound):
        await users.GetUserByEmail(by_email)


async def test_a_deleted_user_can_change_although_the_address_is_taken(users: UserServiceAsyncStub) -> None:
    """A deleted user can be changed after another user took the address. Only reactivation fails with EMAIL_TAKEN."""
    left = await update_user(users, await add_user(users), state=USER_STATE_DELETED)
    await add_user(users)

    assert (await update_user(users, left, display_name="Gone")).display_name == "Gone"
    with pytest.raises(EmailTaken):
        await update_user(users, left, state=USER_STATE_ACTIVE)


async def test_several_deleted_accounts_may_share_an_address(users: UserServiceAsyncStub) -> None:
    """One address can be used, deleted and used again any number of times."""
    for _ in range(3):
        await update_user(users, await add_user(users), state=USER_STATE_DELETED)

    assert (await add_user(users)).state == USER_STATE_ACTIVE


async def test_one_of_twenty_concurrent_users_gets_a_released_address(users: UserServiceAsyncStub) -> None:
    """Of twenty concurrent users with the address of a deleted user, one is created."""
    await update_user(users, await add_user(users), state=USER_STATE_DELETED)

    answers = await asyncio.gather(*[users.CreateUser(create_request()) for _ in range(20)], return_exceptions=True)

    assert sum(isinstance(answer, EmailTaken) for answer in answers) == 19


async def test_a_confirmation_can_be_withdrawn(users: UserServiceAsyncStub) -> None:
    """A field in the mask that is false in the message is set to false (AIP-134)."""
    user = await update_user(users, await add_user(users), email_confirmed=True)

    assert not (await update_user(users, user, "email_confirmed")).email_confirmed


async def test_a_repeated_change_gets_the_same_answer(users: UserServiceAsyncStub) -> None:
    """Repeating an update returns the same user, with the same `update_time`."""
    user = await add_user(users)

    assert await update_user(users, user, display_name="Grace") == await update_user(users, user, display_name="Grace")


async def test_another_users_address_is_rejected(users: UserServiceAsyncStub) -> None:
    """Changing to another user's address fails with EMAIL_TAKEN and changes nothing.

    UserServiceAsyncStub may change the case of their own address.
    """
    ada, grace = await add_user(users), await add_user(users, "grace@example.org")

    with pytest.raises(EmailTaken):
        await update_user(users, grace, email="ADA@example.org", display_name="Impostor")

    assert await get_user(users, grace) == grace
    assert (await update_user(users, ada, email="ADA@example.org")).email == "ADA@example.org"


async def test_one_of_ten_concurrent_changes_gets_an_address(users: UserServiceAsyncStub) -> None:
    """Of ten concurrent changes to one address one succeeds, and nine fail with EMAIL_TAKEN."""
    everyone = [await add_user(users, f"user{number}@example.org") for number in range(10)]

    answers = await asyncio.gather(
        *[update_user(users, user, email="wanted@example.org") for user in everyone], return_exceptions=True
    )

    assert sum(isinstance(answer, EmailTaken) for answer in answers) == 9
    assert sum(isinstance(answer, User) for answer in answers) == 1


async def test_concurrent_changes_of_different_fields_all_persist(users: UserServiceAsyncStub) -> None:
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
    users: UserServiceAsyncStub, mask: tuple[str, ...], fields: dict[str, Any], field: str
) -> None:
    """UpdateUser rejects unknown, immutable, cleared and invalid fields, and changes nothing."""
    user = await add_user(users)
    request = UpdateUserRequest(user=User(**{"user_id": user.user_id, **fields}), update_mask=FieldMask(paths=mask))

    with pytest.raises(InvalidRequest) as refusal:
        await users.UpdateUser(request)

    assert field in fields_of(refusal.value)
    assert await get_user(users, user) == user


async def test_an_update_with_an_outdated_etag_changes_nothing(users: UserServiceAsyncStub) -> None:
    """Of two updates with the etag that both have read, the later one fails with ETAG_MISMATCH (AIP-154)."""
    user = await add_user(users)
    await users.UpdateUser(update_request(user, "roles", roles=[ROLE_ADMIN], etag=user.etag))

    with pytest.raises(EtagMismatch):
        await users.UpdateUser(update_request(user, "roles", roles=[ROLE_OWNER], etag=user.etag))

    after = await get_user(users, user)
    assert list(after.roles) == [ROLE_ADMIN]
    assert after.etag != user.etag
    assert (await update_user(users, after, "display_name", display_name="Grace", etag=after.etag)).etag != after.etag


async def test_one_of_twenty_concurrent_updates_with_one_etag_wins(users: UserServiceAsyncStub) -> None:
    """Of twenty concurrent updates with the same etag one succeeds, and nineteen fail with ETAG_MISMATCH."""
    user = await add_user(users)
    requests = [update_request(user, "display_name", display_name=f"Ada {n}", etag=user.etag) for n in range(20)]

    answers = await asyncio.gather(*map(users.UpdateUser, requests), return_exceptions=True)

    assert sum(isinstance(answer, EtagMismatch) for answer in answers) == 19


async def test_a_repeated_update_with_its_first_etag_succeeds(users: UserServiceAsyncStub) -> None:
    """An automatic retry of an update that was applied gets the same answer, although its etag is outdated."""
    user = await add_user(users)
    request = update_request(user, "display_name", display_name="Grace", etag=user.etag)

    assert await users.UpdateUser(request) == await users.UpdateUser(request)


async def test_a_malformed_etag_is_rejected(users: UserServiceAsyncStub) -> None:
    """An etag that the service cannot have issued is an invalid request, not a mismatch."""
    user = await add_user(users)

    with pytest.raises(InvalidRequest) as refusal:
        await users.UpdateUser(update_request(user, "display_name", display_name="Grace", etag='W/"1"'))

    assert fields_of(refusal.value) == ["user.etag"]
