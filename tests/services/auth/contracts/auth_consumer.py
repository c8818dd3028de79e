"""The auth service as a consumer: a known user at the fake user service, and shortcuts for the calls of a test."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from solo60.auth.v1.auth_pb2 import (
    ConfirmEmailRequest,
    LogInRequest,
    SendAccountVerificationRequest,
    SendAuthMailRequest,
    SendAuthMailResponse,
    SendEmailConfirmationRequest,
    SignUpRequest,
)
from solo60.auth.v1.auth_pb2_grpc import AuthServiceStub
from solo60.communication.v1.communication_pb2 import SendEmailAsyncRequest, SendEmailAsyncResponse
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub
from solo60.user.v1.user_pb2 import (
    ROLE_MEMBER,
    USER_STATE_ACTIVE,
    CreateUserResponse,
    GetUserRequest,
    GetUserResponse,
    User,
    UserState,
)
from solo60.user.v1.user_pb2_grpc import UserServiceStub

if TYPE_CHECKING:
    from collections.abc import Sequence

    from contracts.testing import Expectations
    from contracts.testing.script import Script
    from solo60.auth.v1.auth_pb2 import LogInResponse
    from solo60.auth.v1.auth_pb2_grpc import AuthServiceAsyncStub
    from tests.support.serving import MeshForTests

USER_ID = "0198c1a2-1111-7000-8000-000000000001"
EMAIL = "ada@example.org"
PASSWORD = "correct horse battery staple"  # noqa: S105 - of a test
TIMEOUT_S = 10.0


def a_user(state: UserState.ValueType = USER_STATE_ACTIVE, *, email_confirmed: bool = True) -> User:
    """Return the user with the fields that the auth service reads."""
    return User(
        user_id=USER_ID,
        email=EMAIL,
        display_name="Ada Byron",
        roles=[ROLE_MEMBER],
        state=state,
        email_confirmed=email_confirmed,
    )


@dataclass(frozen=True, slots=True)
class AuthConsumer:
    """Running auth service. `expectations` are its fake providers."""

    mesh: MeshForTests
    expectations: Expectations

    @property
    def auth(self) -> AuthServiceAsyncStub:
        """Stub of the auth service, with every scope."""
        return self.mesh.stub(AuthServiceStub)

    def has_user(self, user: User | None = None) -> None:
        """Let the fake user service have a user, by default an active one, without an expectation."""
        answer = GetUserResponse(user=user or a_user())
        self.expectations.fake.of(UserServiceStub).GetUser(request=GetUserRequest(user_id=USER_ID), answer=answer)

    def take_mails(self) -> Script:
        """Let the auth service deliver its mails to nobody, without an expectation, and return the script of them."""
        return self.expectations.fake.of(AuthServiceStub).SendAuthMail(answer=SendAuthMailResponse(sent=True))

    def take_emails(self) -> Script:
        """Let the fake communication service accept every email, without an expectation, and return its script."""
        answer = SendEmailAsyncResponse(message_id=USER_ID)
        return self.expectations.fake.of(CommunicationServiceStub).SendEmailAsync(answer=answer)

    async def sign_up(self) -> None:
        """Sign the user up, without an expectation. The test has to take the mail."""
        self.expectations.fake.of(UserServiceStub).CreateUser(answer=CreateUserResponse(user=a_user()), times=1)
        await self.auth.SignUp(SignUpRequest(email=EMAIL, password=PASSWORD, display_name="Ada Byron"))

    async def log_in(self, email: str = EMAIL) -> LogInResponse:
        """Log the user in."""
        return await self.auth.LogIn(LogInRequest(email=email, password=PASSWORD))

    async def sent_mail(self, mails: Script) -> SendAuthMailRequest:
        """Wait for a mail in the outbox, and return the request of the latest one."""
        fake = self.expectations.fake
        async with asyncio.timeout(TIMEOUT_S):
            await fake.until(lambda: bool(fake.calls_of(mails)))
        (request,) = fake.calls_of(mails)[-1].requests
        assert isinstance(request, SendAuthMailRequest)
        return request

    async def confirmation_code(self) -> str:
        """Send the user a code that confirms the address, and return the code."""
        mails, emails = self.take_mails(), self.take_emails()
        await self.auth.SendEmailConfirmation(SendEmailConfirmationRequest(user_id=USER_ID))
        await self.auth.SendAuthMail(await self.sent_mail(mails))
        return self.sent_email(emails).variables["code"]

    def sent_email(self, emails: Script) -> SendEmailAsyncRequest:
        """Return the request of the only email."""
        (call,) = self.expectations.fake.calls_of(emails)
        (email,) = call.requests
        assert isinstance(email, SendEmailAsyncRequest)
        return email

    async def confirm_email(self, code: str) -> str:
        """Confirm the address, and return the id of its user."""
        return (await self.auth.ConfirmEmail(ConfirmEmailRequest(code=code))).user_id

    async def send_account_verification(self) -> None:
        """Notify the user about the verification."""
        await self.auth.SendAccountVerification(SendAccountVerificationRequest(user_id=USER_ID))

    async def fetch(self, query: str) -> Sequence[tuple[object, ...]]:
        """Query the database of the auth service."""
        async with self.mesh.database("auth").connection() as connection:
            return [tuple(row) for row in await connection.fetch(query)]
