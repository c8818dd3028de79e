"""Test environment of the auth service: the real services that it calls, a mail inbox, and a clock of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from google.protobuf.field_mask_pb2 import FieldMask

from local.mail_sink import read_mails
from mesh.clock import Clock
from services.auth import app as auth
from services.auth.stores import Stores
from services.communication import app as communication
from services.user import app as user
from solo60.auth.v1.auth_pb2 import (
    ConfirmEmailRequest,
    LogInRequest,
    LogInResponse,
    RefreshTokensRequest,
    SignUpRequest,
    VerifyTokenRequest,
)
from solo60.auth.v1.auth_pb2_grpc import AuthServiceStub
from solo60.user.v1.user_pb2 import UpdateUserRequest, User
from solo60.user.v1.user_pb2_grpc import UserServiceStub
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from local.mail_sink import Mail
    from mesh.serving.service import Runtime, Service
    from services.auth.servicer import AuthServicer
    from solo60.auth.v1.auth_pb2 import Claims, SignUpResponse, Tokens
    from solo60.auth.v1.auth_pb2_grpc import AuthServiceAsyncStub
    from solo60.user.v1.user_pb2_grpc import UserServiceAsyncStub
    from tests.support.serving import MeshForTests

EMAIL = "Ada@example.org"
PASSWORD = "correct horse battery staple"  # noqa: S105 - of a test
NEW_PASSWORD = "fair weather makes good sailing"  # noqa: S105 - of a test
SOURCE = "192.0.2.1"
CODE = re.compile(r"\b(?:[0-9a-z]{5}-){4}[0-9a-z]{5}\b")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class AuthClock(Clock):
    """Clock of the auth service that only the test advances."""

    def __init__(self) -> None:
        self._now = datetime.now(UTC)

    def now(self) -> datetime:
        """Return the time of the auth service."""
        return self._now

    def time_s(self) -> float:
        """Return the same time in seconds since 1970."""
        return self._now.timestamp()

    def advance(self, by: timedelta) -> None:
        """Move the clock forward."""
        self._now += by


def auth_with(clock: AuthClock) -> Service:
    """Return the auth service with this clock."""

    def open_auth(runtime: Runtime) -> AbstractAsyncContextManager[AuthServicer]:
        return auth.open_auth(replace(runtime, clock=clock))

    return replace(auth.SERVICE, open=open_auth)


OTHERS = (user.SERVICE, communication.SERVICE)


@dataclass(frozen=True, slots=True)
class AuthMesh:
    """Running mesh with stubs that have every scope, and shortcuts for common calls."""

    services: MeshForTests
    inbox_folder: Path
    clock: AuthClock
    served: Mapping[str, Service]
    urls: Mapping[str, str]

    @property
    def auth(self) -> AuthServiceAsyncStub:
        """Stub of the auth service, which is under test."""
        return self.services.stub(AuthServiceStub)

    @property
    def users(self) -> UserServiceAsyncStub:
        """Stub of the user service."""
        return self.services.stub(UserServiceStub)

    async def restart(self, name: str) -> None:
        """Serve a stopped service again, on the same database."""
        await self.services.start(self.served[name], self.urls[name])
        await self.services.wait_until_connected(name)

    async def sign_up(self, email: str = EMAIL, password: str = PASSWORD) -> SignUpResponse:
        """Sign up a user called Ada."""
        return await self.auth.SignUp(SignUpRequest(email=email, password=password, display_name="Ada Byron"))

    async def join(self, email: str = EMAIL, password: str = PASSWORD) -> str:
        """Sign up a user, confirm the address at the user service, and return the id."""
        user_id = (await self.sign_up(email, password)).user_id
        await self.change_user(user_id, email_confirmed=True)
        return user_id

    async def log_in(self, email: str = EMAIL, password: str = PASSWORD, source_ip: str = SOURCE) -> LogInResponse:
        """Log in."""
        return await self.auth.LogIn(LogInRequest(email=email, password=password, source_ip=source_ip))

    async def first_log_in(self) -> Tokens:
        """Sign up, confirm the address and log in."""
        await self.join()
        return (await self.log_in()).tokens

    async def refresh(self, tokens: Tokens) -> Tokens:
        """Exchange a refresh token."""
        request = RefreshTokensRequest(refresh_token=tokens.refresh_token)
        return (await self.auth.RefreshTokens(request)).tokens

    async def verify(self, tokens: Tokens) -> Claims:
        """Verify an access token."""
        return (await self.auth.VerifyToken(VerifyTokenRequest(access_token=tokens.access_token))).claims

    async def confirm_email(self, code: str, key: str = "") -> str:
        """Confirm an address and return the id of its user."""
        metadata = (("idempotency-key", key or str(uuid4())),)
        return (await self.auth.ConfirmEmail(ConfirmEmailRequest(code=code), metadata=metadata)).user_id

    async def change_user(self, user_id: str, **fields: Any) -> None:
        """Change fields of a user at the user service."""
        changed = User(user_id=user_id, **fields)
        await self.users.UpdateUser(UpdateUserRequest(user=changed, update_mask=FieldMask(paths=list(fields))))

    async def mails(self, subject: str) -> list[Mail]:
        """Wait until every due mail has arrived, and return those with this subject, in the order of arrival."""
        await eventually(self._is_settled)
        return [mail for mail in read_mails(self.inbox_folder) if mail.subject == subject]

    async def codes(self, subject: str) -> list[str]:
        """Return the codes in the mails with this subject, after every due mail has arrived."""
        return [CODE.findall(mail.body)[0] for mail in await self.mails(subject)]

    async def tidy(self) -> None:
        """Delete expired data, as the background task of the service does."""
        await Stores.on(self.services.database("auth"), self.auth).tidy(self.clock.now())

    async def fetch(self, query: str, *values: object, service: str = "auth") -> list[Any]:
        """Query the database of a service."""
        async with self.services.database(service).connection() as connection:
            return [tuple(row) for row in await connection.fetch(query, *values)]

    async def _is_settled(self) -> bool:
        dead = await self.fetch("select destination, last_error from outbox where status = 'dead'")
        assert dead == []
        if await self.fetch("select message_id from outbox where status = 'pending'"):
            return False
        return not await self.fetch("select from messages where status <> 'SENT'", service="communication")
