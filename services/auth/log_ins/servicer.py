"""RPC handlers that log users in and out, and refresh their tokens."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING
from uuid import UUID

from contracts.errors import CredentialsInvalid, EmailNotConfirmed, TokenInvalid, TooManyAttempts, UserNotActive
from mesh.data.conflicts import retried_on_conflict
from services.auth.attempts.domain import Subjects
from services.auth.constant_time import pad
from services.auth.log_ins.domain import Use, read_token
from services.auth.user_directory import id_of, is_active, role_names_of
from solo60.auth.v1.auth_pb2 import (
    AUTH_MAIL_TOKEN_REUSED,
    LogInResponse,
    LogOutEverywhereResponse,
    LogOutResponse,
    RefreshTokensResponse,
    Tokens,
)
from solo60.auth.v1.auth_pb2_grpc import AuthServiceServicer

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from grpc.aio import ServicerContext

    from services.auth.log_ins.domain import IssuedToken
    from services.auth.passwords.hasher import Hasher
    from services.auth.passwords.store import Password
    from services.auth.stores import Stores
    from services.auth.tokens.issuer import TokenIssuer
    from services.auth.user_directory import UserDirectory
    from solo60.auth.v1.auth_pb2 import LogInRequest, LogOutEverywhereRequest, LogOutRequest, RefreshTokensRequest
    from solo60.user.v1.user_pb2 import User

# User id for an unknown address, so that the same statements run as for a known one.
NOBODY = UUID(int=0)


class LogInServicer(AuthServiceServicer):
    """RPC handlers that log users in and out. `_now` returns the current time in UTC."""

    _stores: Stores
    _hasher: Hasher
    _users: UserDirectory
    _issuer: TokenIssuer
    _now: Callable[[], datetime]

    async def LogIn(
        self, request: LogInRequest, context: ServicerContext[LogInRequest, LogInResponse]
    ) -> LogInResponse:
        started_s = monotonic()
        user = await self._users.find_by_email(request.email)
        subjects = Subjects.of(request.email, request.source_ip)
        await self._begin_attempt(subjects, started_s)
        password = await self._stores.passwords.find(id_of(user) if user else NOBODY)
        is_right = await self._hasher.verify(password.password_hash if password else None, request.password)
        if not is_right or password is None or user is None:
            await pad(started_s)
            raise CredentialsInvalid
        await self._require_usable(user, subjects)
        new_hash = await self._new_hash(password, request.password)
        token = await self._open_log_in(id_of(user), password, new_hash, subjects)
        return LogInResponse(tokens=await self._tokens(user, token), user_id=user.user_id)

    async def RefreshTokens(
        self,
        request: RefreshTokensRequest,
        context: ServicerContext[RefreshTokensRequest, RefreshTokensResponse],
    ) -> RefreshTokensResponse:
        token = read_token(request.refresh_token)
        found = await self._stores.log_ins.find(token) if token else None
        if token is None or found is None or not found.is_valid(self._now()):
            raise TokenInvalid
        # Before the token is used: if the user service does not answer, the caller can try again later.
        user = await self._users.find(found.user_id)
        if user is None:
            raise TokenInvalid
        if not is_active(user):
            raise UserNotActive
        return RefreshTokensResponse(tokens=await self._tokens(user, await self._rotate(token, found.user_id)))

    async def LogOut(
        self, request: LogOutRequest, context: ServicerContext[LogOutRequest, LogOutResponse]
    ) -> LogOutResponse:
        token = read_token(request.refresh_token)
        if token is not None:
            async with self._stores.transaction() as tx:
                await self._stores.log_ins.revoke_by_token(tx, token, self._now())
        return LogOutResponse()

    @retried_on_conflict
    async def LogOutEverywhere(
        self,
        request: LogOutEverywhereRequest,
        context: ServicerContext[LogOutEverywhereRequest, LogOutEverywhereResponse],
    ) -> LogOutEverywhereResponse:
        async with self._stores.transaction() as tx:
            await self._stores.log_ins.revoke_all(tx, UUID(request.user_id), self._now())
        return LogOutEverywhereResponse()

    async def _begin_attempt(self, subjects: Subjects, started_s: float) -> None:
        try:
            await self._stores.attempts.begin(subjects, self._now())
        except TooManyAttempts:
            await pad(started_s)  # the user was looked up already
            raise

    async def _require_usable(self, user: User, subjects: Subjects) -> None:
        """Raise the reason why a user with the right password cannot log in."""
        if is_active(user) and user.email_confirmed:
            return
        async with self._stores.transaction() as tx:
            await self._stores.attempts.forgive(tx, subjects)
        raise EmailNotConfirmed if is_active(user) else UserNotActive

    async def _new_hash(self, password: Password, text: str) -> str | None:
        """Return a hash with the current parameters if the stored one has others."""
        return await self._hasher.hash(text) if self._hasher.is_outdated(password.password_hash) else None

    @retried_on_conflict
    async def _open_log_in(
        self, user_id: UUID, password: Password, new_hash: str | None, subjects: Subjects
    ) -> IssuedToken:
        async with self._stores.transaction() as tx:
            # A reset that was committed since the password was found must not be followed by a log-in with the old one.
            if not await self._stores.passwords.is_still(tx, user_id, password):
                raise CredentialsInvalid
            if new_hash is not None:
                await self._stores.passwords.replace_hash(tx, user_id, new_hash)
            await self._stores.attempts.forgive(tx, subjects)
            await self._stores.attempts.remember_source(tx, subjects, user_id, self._now())
            return await self._stores.log_ins.add(tx, user_id, self._now())

    async def _rotate(self, token: bytes, user_id: UUID) -> IssuedToken:
        async with self._stores.transaction() as tx:
            use, successor = await self._stores.log_ins.rotate(tx, token, self._now())
            if use is Use.STOLEN:
                await self._stores.mails.add(tx, user_id, AUTH_MAIL_TOKEN_REUSED)
        if successor is None:
            raise TokenInvalid
        return successor

    async def _tokens(self, user: User, refresh: IssuedToken) -> Tokens:
        access_token, access_expire_time = await self._issuer.issue(
            id_of(user), role_names_of(user), refresh.log_in_id, self._now()
        )
        tokens = Tokens(access_token=access_token, refresh_token=refresh.text)
        tokens.access_expire_time.FromDatetime(access_expire_time)
        tokens.refresh_expire_time.FromDatetime(refresh.expire_time)
        return tokens
