"""RPC handlers that verify access tokens, and that let other services verify them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from contracts.errors import TokenInvalid
from mesh.access_tokens import CLOCK_SKEW, LIFETIME
from mesh.data.pages import page_of
from services.auth.wire import render_claims, render_key, render_revoked
from solo60.auth.v1.auth_pb2 import GetSigningKeysResponse, ListRevokedLogInsResponse, VerifyTokenResponse
from solo60.auth.v1.auth_pb2_grpc import AuthServiceServicer

if TYPE_CHECKING:
    from collections.abc import Callable

    from grpc.aio import ServicerContext

    from services.auth.stores import Stores
    from services.auth.tokens.issuer import TokenIssuer
    from solo60.auth.v1.auth_pb2 import GetSigningKeysRequest, ListRevokedLogInsRequest, VerifyTokenRequest


class TokenServicer(AuthServiceServicer):
    """RPC handlers that verify access tokens. `_now` returns the current time in UTC."""

    _stores: Stores
    _issuer: TokenIssuer
    _now: Callable[[], datetime]

    async def VerifyToken(
        self, request: VerifyTokenRequest, context: ServicerContext[VerifyTokenRequest, VerifyTokenResponse]
    ) -> VerifyTokenResponse:
        claims = await self._issuer.verify(request.access_token, self._now())
        if not await self._stores.log_ins.is_open(claims.log_in_id):
            raise TokenInvalid
        return VerifyTokenResponse(claims=render_claims(claims))

    async def GetSigningKeys(
        self, request: GetSigningKeysRequest, context: ServicerContext[GetSigningKeysRequest, GetSigningKeysResponse]
    ) -> GetSigningKeysResponse:
        return GetSigningKeysResponse(keys=map(render_key, await self._issuer.published(self._now())))

    async def ListRevokedLogIns(
        self,
        request: ListRevokedLogInsRequest,
        context: ServicerContext[ListRevokedLogInsRequest, ListRevokedLogInsResponse],
    ) -> ListRevokedLogInsResponse:
        page, oldest = page_of(request), self._now() - LIFETIME - CLOCK_SKEW
        since = max(request.since.ToDatetime(UTC), oldest) if request.HasField("since") else oldest
        after = page.after(datetime.fromisoformat, UUID)
        found = await self._stores.log_ins.list_revoked(page.limit, since=since, after=after)
        log_ins, next_page_token = page.cut(found, lambda last: last[1], lambda last: last[0])
        return ListRevokedLogInsResponse(
            log_ins=[render_revoked(*each) for each in log_ins], next_page_token=next_page_token
        )
