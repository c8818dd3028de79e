from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from contracts.errors import (
    CircuitOpen,
    EmailTaken,
    IdempotencyKeyReused,
    InvalidRequest,
    PasswordTooCommon,
    Unavailable,
)
from services.auth.passwords.blocklist import COMMON_PASSWORDS, require_uncommon
from solo60.auth.v1.auth_pb2 import SignUpRequest
from solo60.user.v1.user_pb2 import GetUserRequest
from tests.services.auth.auth_mesh import EMAIL, PASSWORD
from tests.support.eventually import eventually
from tests.support.violations import fields_of

if TYPE_CHECKING:
    from tests.services.auth.auth_mesh import AuthMesh

CONFIRMATION = "Please confirm your email address"


@pytest.mark.requirement("J5")
async def test_a_user_signs_up_confirms_the_address_and_logs_in(mesh: AuthMesh) -> None:
    """SignUp creates an unconfirmed user and mails a code, ConfirmEmail accepts the code, and LogIn succeeds."""
    user_id = (await mesh.sign_up()).user_id
    [code] = await mesh.codes(CONFIRMATION)

    assert await mesh.confirm_email(code.upper().replace("-", " ")) == user_id

    found = (await mesh.users.GetUser(GetUserRequest(user_id=user_id))).user
    assert (found.email, found.email_confirmed) == (EMAIL, True)
    assert (await mesh.log_in("ada@EXAMPLE.org")).user_id == user_id


async def test_secrets_of_a_sign_up_are_stored_only_as_slow_hashes(mesh: AuthMesh) -> None:
    """Neither the password, nor a fast hash of it, nor the code is in any table, also after the mail was sent."""
    key = (("idempotency-key", "sign-up"),)
    requests = [SignUpRequest(email=EMAIL, password=text, display_name="Ada") for text in (PASSWORD, PASSWORD + "2")]
    first, other = [await mesh.auth.SignUp(request, metadata=key) for request in requests]
    [code] = await mesh.codes(CONFIRMATION)

    assert first == other  # the stored fingerprint does not depend on the password
    tables = ("passwords", "codes", "code_hashes", "idempotency_keys", "outbox", "failed_attempts")
    dump = "".join([str(await mesh.fetch(f"select t::text from {table} t")) for table in tables])  # noqa: S608 - names
    for secret in (PASSWORD, code, code.replace("-", ""), code.encode().hex(), PASSWORD.encode().hex()):
        assert secret not in dump
    [(password_hash,)] = await mesh.fetch("select password_hash from passwords")
    assert password_hash.startswith("$argon2id$v=19$")


async def test_a_repeated_sign_up_creates_one_user_and_sends_one_mail(mesh: AuthMesh) -> None:
    """Six concurrent calls with one key get the same response, and one mail is sent."""
    key = (("idempotency-key", "sign-up"),)
    request = SignUpRequest(email=EMAIL, password=PASSWORD, display_name="Ada")

    answers = await asyncio.gather(*[mesh.auth.SignUp(request, metadata=key) for _ in range(6)])

    assert len({answer.user_id for answer in answers}) == 1
    assert len(await mesh.mails(CONFIRMATION)) == 1


async def test_a_taken_address_is_rejected(mesh: AuthMesh) -> None:
    """SignUp with an address of another user, in any spelling, fails with EMAIL_TAKEN."""
    await mesh.sign_up()

    with pytest.raises(EmailTaken):
        await mesh.sign_up("ada@EXAMPLE.ORG")


async def test_a_key_cannot_sign_up_two_users(mesh: AuthMesh) -> None:
    """SignUp with an earlier key and another address or name fails with IDEMPOTENCY_KEY_REUSED."""
    key = (("idempotency-key", "sign-up"),)
    fields = {"email": EMAIL, "password": PASSWORD, "display_name": "Ada"}
    await mesh.auth.SignUp(SignUpRequest(**fields), metadata=key)

    for other in ({"email": "grace@example.org"}, {"display_name": "Grace"}):
        with pytest.raises(IdempotencyKeyReused):
            await mesh.auth.SignUp(SignUpRequest(**{**fields, **other}), metadata=key)


async def test_a_common_password_is_rejected_before_a_user_is_created(mesh: AuthMesh) -> None:
    """A common password in any case fails with PASSWORD_TOO_COMMON, and the address stays free."""
    for password in ("password", "PassWord", "1q2w3e4r", "trustno1"):
        with pytest.raises(PasswordTooCommon):
            await mesh.sign_up(password=password)

    assert (await mesh.sign_up()).user_id


def test_the_list_of_common_passwords_is_long_enough() -> None:
    """At least 10,000 common passwords are rejected."""
    assert COMMON_PASSWORDS.count(",") > 10_000


def test_a_password_with_commas_is_not_a_part_of_the_list() -> None:
    """Two common passwords with a comma between them are not a common password."""
    first, second = COMMON_PASSWORDS.split(",")[1:3]

    require_uncommon(f"{first},{second}")
    with pytest.raises(PasswordTooCommon):
        require_uncommon(second)


async def test_any_characters_make_a_password(mesh: AuthMesh) -> None:
    """A password of 8 to 1024 characters of any kind works."""
    for number, password in enumerate(("x" * 1024, "        ", "ünï cödé 😀", "\u00a0" * 8)):
        email = f"ada-{number}@example.org"
        await mesh.join(email, password)

        assert (await mesh.log_in(email, password)).user_id


async def test_sign_up_without_the_user_service_can_be_repeated(mesh: AuthMesh) -> None:
    """SignUp fails with UNAVAILABLE while the user service is down, and succeeds afterwards with the same key."""
    key = (("idempotency-key", "sign-up"),)
    request = SignUpRequest(email=EMAIL, password=PASSWORD, display_name="Ada")
    await mesh.services.stop("user")
    with pytest.raises(Unavailable):
        await mesh.auth.SignUp(request, metadata=key, timeout=3)
    assert await mesh.fetch("select from passwords") == []

    await mesh.restart("user")

    async def is_signed_up() -> bool:
        try:
            return bool((await mesh.auth.SignUp(request, metadata=key)).user_id)
        except (Unavailable, CircuitOpen):  # the auth service is not connected again yet
            return False

    await eventually(is_signed_up)


@pytest.mark.requirement("C3")
async def test_an_invalid_sign_up_names_its_field(mesh: AuthMesh) -> None:
    """SignUp rejects an invalid request with violations that name only the bad field."""
    valid = {"email": EMAIL, "password": PASSWORD, "display_name": "Ada"}
    bad = [
        ("email", "ada"),
        ("email", f"ada@{'x' * 250}.org"),
        ("password", "1234567"),
        ("password", "x" * 1025),
        ("password", "line\nbreak"),
        ("display_name", " "),
        ("display_name", "x" * 101),
    ]
    for field, value in bad:
        with pytest.raises(InvalidRequest) as refusal:
            await mesh.auth.SignUp(SignUpRequest(**{**valid, field: value}))
        assert set(fields_of(refusal.value)) == {field}, value
