from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from contracts.errors import (
    CodeInvalid,
    CredentialsInvalid,
    InvalidRequest,
    PasswordTooCommon,
    TokenInvalid,
    UserNotActive,
    UserNotFound,
)
from services.auth.attempts.domain import ADDRESS_LIMIT
from services.auth.codes.domain import LIFETIMES, Purpose
from services.communication.mail_template import TEMPLATES, Templates
from solo60.auth.v1 import auth_pb2 as pb
from solo60.communication.v1.communication_pb2 import MESSAGE_STATUS_SENT, GetMessageRequest
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub
from solo60.user.v1.user_pb2 import USER_STATE_DELETED, USER_STATE_SUSPENDED, CreateUserRequest, GetUserRequest
from tests.services.auth.auth_mesh import EMAIL, NEW_PASSWORD, PASSWORD

if TYPE_CHECKING:
    from tests.services.auth.auth_mesh import AuthMesh

CONFIRMATION = "Please confirm your email address"
RESET = "Set a new password"
CHANGED = "Your password was changed"
VERIFIED = "Your account is verified"
MICROSECOND = timedelta(microseconds=1)
UNKNOWN_CODE = "00000-00000-00000-00000-00000"


async def request_reset(mesh: AuthMesh, email: str = EMAIL) -> str:
    """Request a reset code, and return the code of the latest mail."""
    answer = await mesh.auth.RequestPasswordReset(pb.RequestPasswordResetRequest(email=email))
    assert answer == pb.RequestPasswordResetResponse()
    return (await mesh.codes(RESET))[-1]


async def reset(mesh: AuthMesh, code: str, password: str = NEW_PASSWORD, key: str = "") -> None:
    """Set a new password with a code."""
    request = pb.ConfirmPasswordResetRequest(code=code, new_password=password)
    await mesh.auth.ConfirmPasswordReset(request, metadata=(("idempotency-key", key or str(uuid4())),))


@pytest.mark.requirement("J5")
async def test_a_reset_changes_the_password_and_ends_all_log_ins(mesh: AuthMesh) -> None:
    """ConfirmPasswordReset with the mailed code changes the password, revokes all tokens and notifies the user."""
    await mesh.join()
    tokens = (await mesh.log_in()).tokens
    code = await request_reset(mesh, "ada@EXAMPLE.org")

    await reset(mesh, code)

    with pytest.raises(TokenInvalid):
        await mesh.verify(tokens)
    with pytest.raises(TokenInvalid):
        await mesh.refresh(tokens)
    with pytest.raises(CredentialsInvalid):
        await mesh.log_in()
    assert (await mesh.log_in(password=NEW_PASSWORD)).user_id
    assert [mail.recipient for mail in await mesh.mails(CHANGED)] == [EMAIL]


async def test_a_code_works_once(mesh: AuthMesh) -> None:
    """Of eight concurrent resets with one code, one succeeds; a repetition with its key gets its response."""
    await mesh.join()
    code = await request_reset(mesh)
    keys = [str(uuid4()) for _ in range(8)]

    answers = await asyncio.gather(*[reset(mesh, code, key=key) for key in keys], return_exceptions=True)

    assert [type(answer) for answer in answers if answer is not None] == [CodeInvalid] * 7
    await reset(mesh, code, key=keys[answers.index(None)])
    with pytest.raises(CodeInvalid):
        await reset(mesh, code)
    assert len(await mesh.mails(CHANGED)) == 1


async def test_a_rejected_password_does_not_use_up_the_code(mesh: AuthMesh) -> None:
    """A common password is rejected, and the code works afterwards."""
    await mesh.join()
    code = await request_reset(mesh)

    with pytest.raises(PasswordTooCommon):
        await reset(mesh, code, "password")

    await reset(mesh, code)


async def test_an_unknown_address_gets_the_same_response_and_no_mail(mesh: AuthMesh) -> None:
    """RequestPasswordReset for an unknown address or a departed user succeeds, and nothing is sent."""
    await mesh.change_user(await mesh.join(), state=USER_STATE_DELETED)

    for email in ("nobody@example.org", EMAIL):
        answer = await mesh.auth.RequestPasswordReset(pb.RequestPasswordResetRequest(email=email))
        assert answer == pb.RequestPasswordResetResponse()

    assert await mesh.mails(RESET) == []


@pytest.mark.parametrize("subject", [CONFIRMATION, RESET])
async def test_a_new_code_replaces_older_ones(mesh: AuthMesh, subject: str) -> None:
    """Only the latest of several codes works."""
    user_id = (await mesh.sign_up()).user_id
    for _ in range(3):
        if subject == RESET:
            await mesh.auth.RequestPasswordReset(pb.RequestPasswordResetRequest(email=EMAIL))
        else:
            await mesh.auth.SendEmailConfirmation(pb.SendEmailConfirmationRequest(user_id=user_id))
        codes = await mesh.codes(subject)

    async def use(code: str) -> None:
        await (reset(mesh, code) if subject == RESET else mesh.confirm_email(code))

    for old in codes[:-1]:
        with pytest.raises(CodeInvalid):
            await use(old)
    await use(codes[-1])


async def test_concurrent_requests_leave_one_valid_code(mesh: AuthMesh) -> None:
    """Three concurrent requests for a code leave exactly one code in the database."""
    user_id = await mesh.join()
    request = pb.SendEmailConfirmationRequest(user_id=user_id)

    await asyncio.gather(*[mesh.auth.SendEmailConfirmation(request) for _ in range(3)])

    assert len(await mesh.fetch("select from codes")) == 1
    codes = await mesh.codes(CONFIRMATION)
    answers = await asyncio.gather(*[mesh.confirm_email(code) for code in codes], return_exceptions=True)
    assert [answer for answer in answers if not isinstance(answer, CodeInvalid)] == [user_id]


@pytest.mark.parametrize("purpose", Purpose)
async def test_a_code_expires(mesh: AuthMesh, purpose: Purpose) -> None:
    """A code works until the last microsecond of its lifetime, and its row is deleted after it."""
    user_id = await mesh.join()

    async def new_code() -> str:
        if purpose is Purpose.PASSWORD_RESET:
            return await request_reset(mesh)
        await mesh.auth.SendEmailConfirmation(pb.SendEmailConfirmationRequest(user_id=user_id))
        return (await mesh.codes(CONFIRMATION))[-1]

    async def use(code: str) -> None:
        await (reset(mesh, code) if purpose is Purpose.PASSWORD_RESET else mesh.confirm_email(code))

    code = await new_code()
    mesh.clock.advance(LIFETIMES[purpose])
    with pytest.raises(CodeInvalid):
        await use(code)
    await mesh.tidy()
    assert await mesh.fetch("select from codes where purpose = $1", purpose) == []

    code = await new_code()
    mesh.clock.advance(LIFETIMES[purpose] - MICROSECOND)
    await use(code)


def test_a_code_outlives_its_mail() -> None:
    """A mail is never sent after its code has expired, because its template has a shorter lifetime."""
    templates = Templates(TEMPLATES)
    for purpose, lifetime in LIFETIMES.items():
        mail_lifetime = templates.find(purpose).settings.lifetime
        assert mail_lifetime is not None
        assert mail_lifetime < lifetime


async def test_a_code_confirms_only_the_address_that_it_was_sent_to(mesh: AuthMesh) -> None:
    """A code for an earlier address of a user confirms nothing; a new code confirms the new address."""
    user_id = (await mesh.sign_up()).user_id
    [old] = await mesh.codes(CONFIRMATION)
    old_reset = await request_reset(mesh)
    await mesh.change_user(user_id, email="new@example.org")

    with pytest.raises(CodeInvalid):
        await mesh.confirm_email(old)
    with pytest.raises(CodeInvalid):
        await reset(mesh, old_reset)
    assert not (await mesh.users.GetUser(GetUserRequest(user_id=user_id))).user.email_confirmed

    await mesh.auth.SendEmailConfirmation(pb.SendEmailConfirmationRequest(user_id=user_id))
    await mesh.confirm_email((await mesh.codes(CONFIRMATION))[-1])
    assert (await mesh.users.GetUser(GetUserRequest(user_id=user_id))).user.email_confirmed


async def test_codes_have_one_purpose(mesh: AuthMesh) -> None:
    """A confirmation code resets no password, and a reset code is no confirmation code."""
    await mesh.sign_up()
    [confirmation] = await mesh.codes(CONFIRMATION)
    code = await request_reset(mesh)

    with pytest.raises(CodeInvalid):
        await reset(mesh, confirmation)
    with pytest.raises(CodeInvalid):
        await mesh.confirm_email(code)


async def test_a_confirmation_can_be_repeated_with_its_key(mesh: AuthMesh) -> None:
    """ConfirmEmail with the same key returns the first response, and with another key fails with CODE_INVALID."""
    user_id = (await mesh.sign_up()).user_id
    [code] = await mesh.codes(CONFIRMATION)

    assert [await mesh.confirm_email(code, key="confirm") for _ in range(2)] == [user_id] * 2
    with pytest.raises(CodeInvalid):
        await mesh.confirm_email(code)


async def test_a_user_without_a_password_gets_one_by_a_reset(mesh: AuthMesh) -> None:
    """A reset sets the first password of a user, and its code confirms the address as well."""
    await mesh.users.CreateUser(CreateUserRequest(email=EMAIL, display_name="Ada"))

    await reset(mesh, await request_reset(mesh))

    assert (await mesh.log_in(password=NEW_PASSWORD)).user_id


async def test_a_reset_ends_the_pause_of_its_address(mesh: AuthMesh) -> None:
    """After a reset, earlier wrong passwords for the address do not count."""
    await mesh.join()
    for _ in range(ADDRESS_LIMIT.free):
        with pytest.raises(CredentialsInvalid):
            await mesh.log_in(password="wrong password", source_ip="")  # noqa: S106 - of a test

    await reset(mesh, await request_reset(mesh))

    assert (await mesh.log_in(password=NEW_PASSWORD, source_ip="")).user_id


async def test_a_reset_stores_no_password(mesh: AuthMesh) -> None:
    """The fingerprint of a stored request depends on the code, not on the password."""
    await mesh.join()
    code = await request_reset(mesh)

    await reset(mesh, code, NEW_PASSWORD, key="reset")
    await reset(mesh, code, PASSWORD, key="reset")

    assert (await mesh.log_in(password=NEW_PASSWORD)).user_id


async def test_message_ids_find_the_mails(mesh: AuthMesh) -> None:
    """SendEmailConfirmation and SendAccountVerification return the ids of their mails, the same for the same key."""
    user_id = await mesh.join()
    metadata = (("idempotency-key", "mail"),)
    confirmation = pb.SendEmailConfirmationRequest(user_id=user_id)
    verification = pb.SendAccountVerificationRequest(user_id=user_id)
    first = await mesh.auth.SendEmailConfirmation(confirmation, metadata=metadata)
    second, third = [await mesh.auth.SendAccountVerification(verification, metadata=metadata) for _ in range(2)]
    assert len(await mesh.mails(VERIFIED)) == 1

    assert second == third
    stub = mesh.services.stub(CommunicationServiceStub)
    for message_id in (first.message_id, second.message_id):
        message = (await stub.GetMessage(GetMessageRequest(message_id=message_id))).message
        assert message.status == MESSAGE_STATUS_SENT


async def test_mails_to_unknown_and_inactive_users_are_rejected(mesh: AuthMesh) -> None:
    """Both methods fail with USER_NOT_FOUND or USER_NOT_ACTIVE, and with INVALID_REQUEST for a bad id."""
    suspended = await mesh.join()
    await mesh.change_user(suspended, state=USER_STATE_SUSPENDED)
    methods: list[tuple[Any, Any]] = [
        (mesh.auth.SendEmailConfirmation, pb.SendEmailConfirmationRequest),
        (mesh.auth.SendAccountVerification, pb.SendAccountVerificationRequest),
    ]

    for method, request_type in methods:
        for user_id, error in ((str(uuid4()), UserNotFound), (suspended, UserNotActive), ("1", InvalidRequest)):
            with pytest.raises(error):
                await method(request_type(user_id=user_id))


async def test_a_repeated_delivery_sends_one_mail_with_a_valid_code(mesh: AuthMesh) -> None:
    """SendAuthMail may be repeated: one mail is sent, and its code works although later attempts made other codes."""
    user_id = (await mesh.sign_up()).user_id
    await mesh.mails(CONFIRMATION)
    [(code_id,)] = await mesh.fetch("select code_id from codes")
    request = pb.SendAuthMailRequest(message_id=str(code_id), user_id=user_id, mail=pb.AUTH_MAIL_EMAIL_CONFIRMATION)

    for _ in range(3):
        assert (await mesh.auth.SendAuthMail(request)).sent

    assert len(await mesh.fetch("select from code_hashes")) == 4
    [code] = await mesh.codes(CONFIRMATION)
    assert await mesh.confirm_email(code) == user_id
    assert not (await mesh.auth.SendAuthMail(request)).sent
    assert len(await mesh.mails(CONFIRMATION)) == 1


async def test_no_mail_is_sent_to_nobody_or_with_a_dead_code(mesh: AuthMesh) -> None:
    """SendAuthMail sends nothing to unknown users, and nothing for an expired code."""
    user_id = (await mesh.sign_up()).user_id
    await mesh.mails(CONFIRMATION)
    [(code_id,)] = await mesh.fetch("select code_id from codes")
    mesh.clock.advance(LIFETIMES[Purpose.EMAIL_CONFIRMATION])

    for recipient, mail in ((user_id, pb.AUTH_MAIL_EMAIL_CONFIRMATION), (str(uuid4()), pb.AUTH_MAIL_PASSWORD_CHANGED)):
        request = pb.SendAuthMailRequest(message_id=str(code_id), user_id=recipient, mail=mail)
        assert not (await mesh.auth.SendAuthMail(request)).sent


@pytest.mark.requirement("C3")
async def test_invalid_requests_are_rejected(mesh: AuthMesh) -> None:
    """Each method rejects a request that breaks a rule of the contract."""
    bad: list[tuple[Any, Any]] = [
        (mesh.auth.ConfirmEmail, pb.ConfirmEmailRequest()),
        (mesh.auth.ConfirmEmail, pb.ConfirmEmailRequest(code="x" * 513)),
        (mesh.auth.RequestPasswordReset, pb.RequestPasswordResetRequest(email="ada")),
        (mesh.auth.ConfirmPasswordReset, pb.ConfirmPasswordResetRequest(code=UNKNOWN_CODE, new_password=PASSWORD[:7])),
        (mesh.auth.ConfirmPasswordReset, pb.ConfirmPasswordResetRequest(code="", new_password=NEW_PASSWORD)),
        (mesh.auth.SendAuthMail, pb.SendAuthMailRequest(message_id="1", user_id="1")),
        (mesh.auth.OnUserLeft, pb.OnUserLeftRequest()),
    ]
    for method, request in bad:
        with pytest.raises(InvalidRequest):
            await method(request)
    for use in (mesh.confirm_email(UNKNOWN_CODE), reset(mesh, UNKNOWN_CODE)):
        with pytest.raises(CodeInvalid):
            await use
