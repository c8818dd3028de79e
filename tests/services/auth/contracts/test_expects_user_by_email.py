"""Expectations of the auth service on the user service, about email addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from contracts.errors import (
    CredentialsInvalid,
    EmailNotConfirmed,
    EmailTaken,
    UserNotActive,
)
from solo60.auth.v1.auth_pb2 import (
    AUTH_MAIL_EMAIL_CONFIRMATION,
    AUTH_MAIL_PASSWORD_RESET,
    RequestPasswordResetRequest,
    SignUpRequest,
    VerifyTokenRequest,
)
from solo60.user.v1.user_pb2 import (
    USER_STATE_ACTIVE,
    USER_STATE_SUSPENDED,
    CreateUserRequest,
    CreateUserResponse,
    User,
)
from solo60.user.v1.user_pb2_grpc import UserServiceStub
from tests.services.auth.contracts.auth_consumer import EMAIL, PASSWORD, USER_ID, a_user
from tests.services.auth.contracts.expected_users import (
    UNCONFIRMED,
    expect_active_user_by_email,
    expect_no_user_by_email,
    expect_user_by_email,
)

if TYPE_CHECKING:
    from tests.services.auth.contracts.auth_consumer import AuthConsumer

SIGN_UP = SignUpRequest(email=EMAIL, password=PASSWORD, display_name="Ada Byron")


async def test_a_sign_up_creates_a_user(consumer: AuthConsumer) -> None:
    """SignUp creates the user at the user service, answers with the id, and mails a code to that user."""
    mails = consumer.take_mails()
    consumer.expectations.of(UserServiceStub).given("a free email address", email=EMAIL).CreateUser(
        request=CreateUserRequest(email=EMAIL),
        answer=CreateUserResponse(user=User(user_id=USER_ID)),
        any_value=["user.user_id"],
    )

    assert (await consumer.auth.SignUp(SIGN_UP)).user_id == USER_ID

    mail = await consumer.sent_mail(mails)
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

    mail = await consumer.sent_mail(mails)
    assert (mail.user_id, mail.mail) == (USER_ID, AUTH_MAIL_PASSWORD_RESET)


async def test_an_unknown_address_gets_no_reset_code(consumer: AuthConsumer) -> None:
    """RequestPasswordReset succeeds for an unknown address, and mails nobody."""
    expect_no_user_by_email(consumer)

    await consumer.auth.RequestPasswordReset(RequestPasswordResetRequest(email=EMAIL))

    assert await consumer.fetch("select from outbox") == []
