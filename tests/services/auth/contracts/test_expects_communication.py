"""Expectations of the auth service on the communication service."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from contracts.errors import Internal, TemplateNotFound, TemplateVariableMissing
from solo60.auth.v1.auth_pb2 import (
    AUTH_MAIL_ACCOUNT_VERIFICATION,
    AUTH_MAIL_EMAIL_CONFIRMATION,
    AUTH_MAIL_PASSWORD_CHANGED,
    AUTH_MAIL_PASSWORD_RESET,
    AUTH_MAIL_TOKEN_REUSED,
    AuthMail,
    RequestPasswordResetRequest,
    SendAuthMailRequest,
    SendEmailConfirmationRequest,
)
from solo60.communication.v1.communication_pb2 import SendEmailAsyncRequest, SendEmailAsyncResponse
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub
from solo60.user.v1.user_pb2 import GetUserByEmailResponse
from solo60.user.v1.user_pb2_grpc import UserServiceStub
from tests.services.auth.contracts.auth_consumer import EMAIL, USER_ID, a_user

if TYPE_CHECKING:
    from contracts.errors import ServiceError
    from tests.services.auth.contracts.auth_consumer import AuthConsumer

WITHOUT_CODE = [AUTH_MAIL_ACCOUNT_VERIFICATION, AUTH_MAIL_PASSWORD_CHANGED, AUTH_MAIL_TOKEN_REUSED]


def expect_email(consumer: AuthConsumer, request: SendAuthMailRequest) -> None:
    """Expect that the communication service stores the email of a mail."""
    template_key = AuthMail.Name(request.mail).removeprefix("AUTH_MAIL_")
    consumer.expectations.of(CommunicationServiceStub).given(
        f"the template {template_key}", message_id=request.message_id
    ).SendEmailAsync(request=SendEmailAsyncRequest(template_key=template_key), answer=SendEmailAsyncResponse())


@pytest.mark.parametrize("mail", WITHOUT_CODE, ids=AuthMail.Name)
async def test_a_mail_is_a_template_and_the_name_of_the_user(consumer: AuthConsumer, mail: AuthMail.ValueType) -> None:
    """SendAuthMail fills the template of the mail, and reports that the mail is queued."""
    consumer.has_user()
    request = SendAuthMailRequest(message_id=str(uuid4()), user_id=USER_ID, mail=mail)
    expect_email(consumer, request)

    assert (await consumer.auth.SendAuthMail(request)).sent


async def test_a_confirmation_has_a_code(consumer: AuthConsumer) -> None:
    """The mail after SendEmailConfirmation has a code, whose hash is stored."""
    consumer.has_user()
    mails = consumer.take_mails()
    await consumer.auth.SendEmailConfirmation(SendEmailConfirmationRequest(user_id=USER_ID))
    request = await consumer.sent_mail(mails)
    assert request.mail == AUTH_MAIL_EMAIL_CONFIRMATION
    expect_email(consumer, request)

    assert (await consumer.auth.SendAuthMail(request)).sent

    assert len(await consumer.fetch("select from code_hashes")) == 1


async def test_a_password_reset_has_a_code(consumer: AuthConsumer) -> None:
    """The mail after RequestPasswordReset has a code, whose hash is stored."""
    consumer.has_user()
    mails = consumer.take_mails()
    consumer.expectations.fake.of(UserServiceStub).GetUserByEmail(answer=GetUserByEmailResponse(user=a_user()))
    await consumer.auth.RequestPasswordReset(RequestPasswordResetRequest(email=EMAIL))
    request = await consumer.sent_mail(mails)
    assert request.mail == AUTH_MAIL_PASSWORD_RESET
    expect_email(consumer, request)

    assert (await consumer.auth.SendAuthMail(request)).sent

    assert len(await consumer.fetch("select from code_hashes")) == 1


@pytest.mark.parametrize(
    ("state", "error"),
    [("no template with that key", TemplateNotFound()), ("a template with other variables", TemplateVariableMissing())],
    ids=["unknown", "incomplete"],
)
async def test_a_mail_that_cannot_be_written_fails(consumer: AuthConsumer, state: str, error: ServiceError) -> None:
    """SendAuthMail fails with INTERNAL, so that the outbox tries again."""
    consumer.has_user()
    consumer.expectations.of(CommunicationServiceStub).given(state, template_key="ACCOUNT_VERIFICATION").SendEmailAsync(
        error=error
    )
    request = SendAuthMailRequest(message_id=str(uuid4()), user_id=USER_ID, mail=AUTH_MAIL_ACCOUNT_VERIFICATION)

    with pytest.raises(Internal):
        await consumer.auth.SendAuthMail(request)
