"""Expectations of the auth service on the user service."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from contracts.errors import (
    CodeInvalid,
    CredentialsInvalid,
    EmailNotConfirmed,
    EmailTaken,
    TokenInvalid,
    UserErased,
    UserNotActive,
    UserNotFound,
)
from solo60.auth.v1.auth_pb2 import (
    AUTH_MAIL_ACCOUNT_VERIFICATION,
    AUTH_MAIL_EMAIL_CONFIRMATION,
    AUTH_MAIL_PASSWORD_RESET,
    RefreshTokensRequest,
    RequestPasswordResetRequest,
    SendAuthMailRequest,
    SendEmailConfirmationRequest,
    SignUpRequest,
    VerifyTokenRequest,
)
from solo60.user.v1.user_pb2 import (
    USER_STATE_ACTIVE,
    USER_STATE_DELETED,
    USER_STATE_SUSPENDED,
    CreateUserRequest,
    CreateUserResponse,
    GetUserByEmailRequest,
    GetUserByEmailResponse,
    GetUserRequest,
    GetUserResponse,
    UpdateUserRequest,
    UpdateUserResponse,
    User,
    UserState,
)
from solo60.user.v1.user_pb2_grpc import UserServiceStub
from tests.services.auth.contracts.auth_consumer import EMAIL, PASSWORD, USER_ID, a_user

if TYPE_CHECKING:
    from contracts.errors import ServiceError
    from tests.services.auth.contracts.auth_consumer import AuthConsumer

UNCONFIRMED = "an active user with an unconfirmed email address"
SIGN_UP = SignUpRequest(email=EMAIL, password=PASSWORD, display_name="Ada Byron")


def expect_user(consumer: AuthConsumer, state: str, user: User, *unset: str) -> None:
    """Expect that the user service finds the user by id."""
    consumer.expectations.of(UserServiceStub).given(state, user_id=USER_ID, email=EMAIL).GetUser(
        request=GetUserRequest(user_id=USER_ID), answer=GetUserResponse(user=user), unset=unset
    )


def expect_active_user(consumer: AuthConsumer) -> None:
    """Expect an active user with all fields that tokens and mails need."""
    expect_user(consumer, "an active user", a_user())


def expect_unconfirmed_user(consumer: AuthConsumer) -> None:
    """Expect a user who has to confirm the address."""
    user = User(user_id=USER_ID, email=EMAIL, display_name="Ada Byron", state=USER_STATE_ACTIVE)
    expect_user(consumer, UNCONFIRMED, user, "user.email_confirmed")


def expect_user_in(consumer: AuthConsumer, sentence: str, state: UserState.ValueType) -> None:
    """Expect a user of whom only the state is read."""
    expect_user(consumer, sentence, User(state=state))


def expect_no_user(consumer: AuthConsumer) -> None:
    """Expect USER_NOT_FOUND for an unknown id."""
    consumer.expectations.of(UserServiceStub).given("no user", user_id=USER_ID).GetUser(
        request=GetUserRequest(user_id=USER_ID), error=UserNotFound()
    )


def expect_user_by_email(consumer: AuthConsumer, state: str, user: User, *unset: str, email: str = EMAIL) -> None:
    """Expect that the user service finds the user by email address."""
    consumer.expectations.of(UserServiceStub).given(state, user_id=USER_ID, email=email).GetUserByEmail(
        request=GetUserByEmailRequest(email=email), answer=GetUserByEmailResponse(user=user), unset=unset
    )


def expect_active_user_by_email(consumer: AuthConsumer) -> None:
    """Expect an active user with all fields that a log-in needs."""
    user = User(user_id=USER_ID, roles=a_user().roles, state=USER_STATE_ACTIVE, email_confirmed=True)
    expect_user_by_email(consumer, "an active user", user)


def expect_no_user_by_email(consumer: AuthConsumer) -> None:
    """Expect USER_NOT_FOUND for an unknown address."""
    consumer.expectations.of(UserServiceStub).given("a free email address", email=EMAIL).GetUserByEmail(
        request=GetUserByEmailRequest(email=EMAIL), error=UserNotFound()
    )


def expect_update(consumer: AuthConsumer, state: str, error: ServiceError | None = None) -> None:
    """Expect an answer to the confirmation of the address."""
    confirmed = User(user_id=USER_ID, email=EMAIL, email_confirmed=True)
    consumer.expectations.of(UserServiceStub).given(state, user_id=USER_ID, email=EMAIL).UpdateUser(
        request=UpdateUserRequest(user=confirmed, update_mask=FieldMask(paths=["email", "email_confirmed"])),
        answer=None if error else UpdateUserResponse(),
        error=error,
    )


async def test_a_sign_up_creates_a_user(consumer: AuthConsumer) -> None:
    """SignUp creates the user at the user service, answers with the id, and mails a code to that user."""
    mails = consumer.take_mails()
    consumer.expectations.of(UserServiceStub).given("a free email address", email=EMAIL).CreateUser(
        request=CreateUserRequest(email=EMAIL),
        answer=CreateUserResponse(user=User(user_id=USER_ID)),
        any_value=["user.user_id"],
    )

    assert (await consumer.auth.SignUp(SIGN_UP)).user_id == USER_ID

    mail = await consumer.heard_mail(mails)
    assert (mail.user_id, mail.mail) == (USER_ID, AUTH_MAIL_EMAIL_CONFIRMATION)


async def test_a_taken_address_is_reported(consumer: AuthConsumer) -> None:
    """SignUp passes on EMAIL_TAKEN, and stores no password."""
    consumer.expectations.of(UserServiceStub).given("an active user", email=EMAIL).CreateUser(
        request=CreateUserRequest(email=EMAIL), error=EmailTaken()
    )

    with pytest.raises(EmailTaken):
        await consumer.auth.SignUp(SIGN_UP)

    assert await consumer.fetch("select from passwords") == []


async def test_a_token_carries_the_roles_of_the_user(consumer: AuthConsumer) -> None:
    """LogIn of an active user issues a token with the id and the roles from the user service."""
    consumer.take_mails()
    await consumer.sign_up()
    expect_active_user_by_email(consumer)

    response = await consumer.log_in()

    token = VerifyTokenRequest(access_token=response.tokens.access_token)
    claims = (await consumer.auth.VerifyToken(token)).claims
    assert (response.user_id, claims.user_id, list(claims.roles)) == (USER_ID, USER_ID, ["MEMBER"])


async def test_an_address_in_capitals_is_the_same_address(consumer: AuthConsumer) -> None:
    """LogIn relies on the user service to find an address in any case."""
    consumer.take_mails()
    await consumer.sign_up()
    user = User(user_id=USER_ID, roles=a_user().roles, state=USER_STATE_ACTIVE, email_confirmed=True)
    expect_user_by_email(
        consumer, "an active user, and the user's email address in capitals", user, email=EMAIL.upper()
    )

    assert (await consumer.log_in(EMAIL.upper())).user_id == USER_ID


async def test_an_unconfirmed_user_cannot_log_in(consumer: AuthConsumer) -> None:
    """LogIn fails with EMAIL_NOT_CONFIRMED until the user service has the address as confirmed."""
    consumer.take_mails()
    await consumer.sign_up()
    user = User(user_id=USER_ID, state=USER_STATE_ACTIVE)
    expect_user_by_email(consumer, UNCONFIRMED, user, "user.email_confirmed")

    with pytest.raises(EmailNotConfirmed):
        await consumer.log_in()


async def test_a_suspended_user_cannot_log_in(consumer: AuthConsumer) -> None:
    """LogIn of a suspended user fails with USER_NOT_ACTIVE."""
    consumer.take_mails()
    await consumer.sign_up()
    expect_user_by_email(consumer, "a suspended user", User(user_id=USER_ID, state=USER_STATE_SUSPENDED))

    with pytest.raises(UserNotActive):
        await consumer.log_in()


async def test_an_unknown_address_cannot_log_in(consumer: AuthConsumer) -> None:
    """LogIn answers USER_NOT_FOUND with CREDENTIALS_INVALID, as it answers a wrong password."""
    expect_no_user_by_email(consumer)

    with pytest.raises(CredentialsInvalid):
        await consumer.log_in()


async def test_a_known_address_gets_a_reset_code(consumer: AuthConsumer) -> None:
    """RequestPasswordReset mails the user that the user service finds."""
    mails = consumer.take_mails()
    expect_active_user_by_email(consumer)

    await consumer.auth.RequestPasswordReset(RequestPasswordResetRequest(email=EMAIL))

    mail = await consumer.heard_mail(mails)
    assert (mail.user_id, mail.mail) == (USER_ID, AUTH_MAIL_PASSWORD_RESET)


async def test_an_unknown_address_gets_no_reset_code(consumer: AuthConsumer) -> None:
    """RequestPasswordReset succeeds for an unknown address, and mails nobody."""
    expect_no_user_by_email(consumer)

    await consumer.auth.RequestPasswordReset(RequestPasswordResetRequest(email=EMAIL))

    assert await consumer.fetch("select from outbox") == []


async def test_an_active_user_gets_a_notification(consumer: AuthConsumer) -> None:
    """SendAccountVerification mails an active user."""
    mails = consumer.take_mails()
    expect_active_user(consumer)

    await consumer.send_account_verification()

    assert (await consumer.heard_mail(mails)).mail == AUTH_MAIL_ACCOUNT_VERIFICATION


@pytest.mark.parametrize(
    ("sentence", "state"), [("a suspended user", USER_STATE_SUSPENDED), ("a user who has left", USER_STATE_DELETED)]
)
async def test_nobody_else_gets_a_notification(
    consumer: AuthConsumer, sentence: str, state: UserState.ValueType
) -> None:
    """SendAccountVerification and SendEmailConfirmation of an inactive user fail with USER_NOT_ACTIVE."""
    expect_user_in(consumer, sentence, state)

    with pytest.raises(UserNotActive):
        await consumer.send_account_verification()
    with pytest.raises(UserNotActive):
        await consumer.auth.SendEmailConfirmation(SendEmailConfirmationRequest(user_id=USER_ID))


async def test_an_unknown_user_is_reported(consumer: AuthConsumer) -> None:
    """SendAccountVerification and SendEmailConfirmation pass on USER_NOT_FOUND."""
    expect_no_user(consumer)

    with pytest.raises(UserNotFound):
        await consumer.send_account_verification()
    with pytest.raises(UserNotFound):
        await consumer.auth.SendEmailConfirmation(SendEmailConfirmationRequest(user_id=USER_ID))


async def test_a_mail_has_the_name_and_address_of_the_user(consumer: AuthConsumer) -> None:
    """SendAuthMail sends the mail to the name and the address from the user service."""
    emails = consumer.take_emails()
    expect_active_user(consumer)
    request = SendAuthMailRequest(message_id=str(uuid4()), user_id=USER_ID, mail=AUTH_MAIL_ACCOUNT_VERIFICATION)

    assert (await consumer.auth.SendAuthMail(request)).sent

    email = consumer.heard_email(emails)
    assert (email.recipient.email, email.recipient.display_name) == (EMAIL, "Ada Byron")
    assert email.variables["member_name"] == "Ada Byron"


@pytest.mark.parametrize("has_left", [True, False])
async def test_a_user_who_is_gone_gets_no_mail(consumer: AuthConsumer, *, has_left: bool) -> None:
    """SendAuthMail sends nothing to a user who has left or is unknown, and succeeds."""
    if has_left:
        expect_user_in(consumer, "a user who has left", USER_STATE_DELETED)
    else:
        expect_no_user(consumer)
    request = SendAuthMailRequest(message_id=str(uuid4()), user_id=USER_ID, mail=AUTH_MAIL_ACCOUNT_VERIFICATION)

    assert not (await consumer.auth.SendAuthMail(request)).sent


async def refresh_token_of(consumer: AuthConsumer) -> RefreshTokensRequest:
    """Log the user in, and return a request with the refresh token."""
    consumer.take_mails()
    await consumer.sign_up()
    expect_active_user_by_email(consumer)
    return RefreshTokensRequest(refresh_token=(await consumer.log_in()).tokens.refresh_token)


async def test_an_active_user_refreshes_tokens(consumer: AuthConsumer) -> None:
    """RefreshTokens issues a token with the roles that the user has now."""
    request = await refresh_token_of(consumer)
    expect_active_user(consumer)

    tokens = (await consumer.auth.RefreshTokens(request)).tokens

    verified = await consumer.auth.VerifyToken(VerifyTokenRequest(access_token=tokens.access_token))
    assert verified.claims.roles == ["MEMBER"]


async def test_a_suspended_user_cannot_refresh_tokens(consumer: AuthConsumer) -> None:
    """RefreshTokens of a suspended user fails with USER_NOT_ACTIVE."""
    request = await refresh_token_of(consumer)
    expect_user_in(consumer, "a suspended user", USER_STATE_SUSPENDED)

    with pytest.raises(UserNotActive):
        await consumer.auth.RefreshTokens(request)


async def test_tokens_of_a_user_who_has_left_are_invalid(consumer: AuthConsumer) -> None:
    """RefreshTokens of a user who has left fails with TOKEN_INVALID, even before UserLeft arrives."""
    request = await refresh_token_of(consumer)
    expect_user_in(consumer, "a user who has left", USER_STATE_DELETED)

    with pytest.raises(TokenInvalid):
        await consumer.auth.RefreshTokens(request)


async def test_a_code_confirms_the_address(consumer: AuthConsumer) -> None:
    """ConfirmEmail marks the address at the user service as confirmed."""
    expect_unconfirmed_user(consumer)
    code = await consumer.confirmation_code()
    expect_update(consumer, UNCONFIRMED)

    assert await consumer.confirm_email(code) == USER_ID


async def test_a_confirmed_address_is_not_confirmed_again(consumer: AuthConsumer) -> None:
    """ConfirmEmail of a confirmed address succeeds without an update."""
    expect_active_user(consumer)

    assert await consumer.confirm_email(await consumer.confirmation_code()) == USER_ID


@pytest.mark.parametrize(
    ("state", "error"),
    [
        ("no user", UserNotFound()),
        ("a user who is being erased", UserErased()),
        ("an active user, and the email address of another one", EmailTaken()),
    ],
    ids=["unknown", "erased", "taken"],
)
async def test_a_code_for_a_lost_address_is_invalid(consumer: AuthConsumer, state: str, error: ServiceError) -> None:
    """ConfirmEmail fails with CODE_INVALID if the user lost the address after GetUser."""
    expect_unconfirmed_user(consumer)
    code = await consumer.confirmation_code()
    expect_update(consumer, state, error)

    with pytest.raises(CodeInvalid):
        await consumer.confirm_email(code)
