"""Expectations of the auth service on itself: it sends its mails through its outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from solo60.auth.v1.auth_pb2 import (
    AUTH_MAIL_ACCOUNT_VERIFICATION,
    AUTH_MAIL_EMAIL_CONFIRMATION,
    AUTH_MAIL_PASSWORD_RESET,
    AuthMail,
    RequestPasswordResetRequest,
    SendAuthMailRequest,
    SendAuthMailResponse,
)
from solo60.auth.v1.auth_pb2_grpc import AuthServiceStub
from solo60.user.v1.user_pb2 import GetUserByEmailResponse
from solo60.user.v1.user_pb2_grpc import UserServiceStub
from tests.services.auth.contracts.auth_consumer import EMAIL, USER_ID, a_user

if TYPE_CHECKING:
    from tests.services.auth.contracts.auth_consumer import AuthConsumer


@pytest.fixture(autouse=True)
def user_service(consumer: AuthConsumer) -> None:
    """Let the fake user service find the user, by id or address."""
    consumer.has_user()
    consumer.expectations.fake.of(UserServiceStub).GetUserByEmail(answer=GetUserByEmailResponse(user=a_user()))


def expect_mail(consumer: AuthConsumer, state: str, mail: AuthMail.ValueType) -> None:
    """Expect that a mail is sent to the user."""
    consumer.expectations.later(AuthServiceStub).given(state, user_id=USER_ID).SendAuthMail(
        request=SendAuthMailRequest(user_id=USER_ID, mail=mail), answer=SendAuthMailResponse()
    )


async def test_a_new_user_gets_a_code(consumer: AuthConsumer) -> None:
    """SignUp puts the mail with the code into the outbox, which delivers it once."""
    expect_mail(consumer, "a user who has just signed up", AUTH_MAIL_EMAIL_CONFIRMATION)

    await consumer.sign_up()

    await consumer.expectations.all_called()


async def test_a_user_without_password_gets_a_code(consumer: AuthConsumer) -> None:
    """RequestPasswordReset puts the mail with the code into the outbox."""
    expect_mail(consumer, "a user who has requested a new password", AUTH_MAIL_PASSWORD_RESET)

    await consumer.auth.RequestPasswordReset(RequestPasswordResetRequest(email=EMAIL))

    await consumer.expectations.all_called()


async def test_a_verified_user_gets_a_notification(consumer: AuthConsumer) -> None:
    """SendAccountVerification puts the mail into the outbox."""
    expect_mail(consumer, "an active user", AUTH_MAIL_ACCOUNT_VERIFICATION)

    await consumer.send_account_verification()

    await consumer.expectations.all_called()
