"""Expectations of the auth service on the user service, about the ids of users."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from contracts.errors import (
    CodeInvalid,
    EmailTaken,
    TokenInvalid,
    UserErased,
    UserNotActive,
    UserNotFound,
)
from solo60.auth.v1.auth_pb2 import (
    AUTH_MAIL_ACCOUNT_VERIFICATION,
    RefreshTokensRequest,
    SendAuthMailRequest,
    SendEmailConfirmationRequest,
    VerifyTokenRequest,
)
from solo60.user.v1.user_pb2 import USER_STATE_DELETED, USER_STATE_SUSPENDED, UserState
from tests.services.auth.contracts.auth_consumer import EMAIL, USER_ID
from tests.services.auth.contracts.expected_users import (
    UNCONFIRMED,
    expect_active_user,
    expect_active_user_by_email,
    expect_no_user,
    expect_unconfirmed_user,
    expect_update,
    expect_user_in,
)

if TYPE_CHECKING:
    from contracts.errors import ServiceError
    from tests.services.auth.contracts.auth_consumer import AuthConsumer


async def test_an_active_user_gets_a_notification(consumer: AuthConsumer) -> None:
    """SendAccountVerification mails an active user."""
    mails = consumer.take_mails()
    expect_active_user(consumer)

    await consumer.send_account_verification()

    assert (await consumer.sent_mail(mails)).mail == AUTH_MAIL_ACCOUNT_VERIFICATION


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

    email = consumer.sent_email(emails)
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
