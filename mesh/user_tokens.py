"""Verifier of users' access tokens inside a service, without a call for each token.

    async with verifying_user_tokens(runtime.channels.stub(AuthServiceStub), runtime.now) as tokens:
        claims = tokens.verify(access_token)

It polls the auth service for its signing keys and for revoked log-ins. A revocation takes effect within 5 s: if the
last successful poll is older, no token is accepted.
"""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from joserfc.jwk import OKPKey

from contracts.errors import TokenInvalid, Unavailable
from mesh.access_tokens import LIFETIME, key_id_of, verify_access_token
from mesh.periodic import repeating
from solo60.auth.v1.auth_pb2 import GetSigningKeysRequest, ListRevokedLogInsRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from mesh.access_tokens import AccessClaims
    from solo60.auth.v1.auth_pb2_grpc import AuthServiceAsyncStub

POLL_INTERVAL_S = 1.0
MAX_AGE_S = 5.0
PAGE_SIZE = 100
# A revocation may be committed this long after its time, and replicas of the auth service have different clocks.
OVERLAP = timedelta(minutes=1)


class UserTokens:
    """Verifier with the keys and the revocations of its last poll.

    `now` decides about the validity of tokens, and `clock` is monotonic and decides about the age of the last poll.
    """

    def __init__(
        self,
        auth: AuthServiceAsyncStub,
        now: Callable[[], datetime],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._auth = auth
        self._now = now
        self._clock = clock
        self._keys: dict[str, OKPKey] = {}
        self._revoked: dict[str, datetime] = {}
        self._polled_s: float | None = None

    def verify(self, access_token: str) -> AccessClaims:
        """Return the claims of a valid token.

        Raises TokenInvalid, or Unavailable if the auth service has not answered within the last 5 s. A fallback to
        VerifyToken would not help then, because the same service answers it.
        """
        if self._polled_s is None or self._clock() - self._polled_s > MAX_AGE_S:
            raise Unavailable(
                "The auth service does not answer, so revoked access tokens are not known. Try again later."
            )
        key = self._keys.get(key_id_of(access_token))
        if key is None:
            raise TokenInvalid
        claims = verify_access_token(access_token, key, self._now())
        if str(claims.log_in_id) in self._revoked:
            raise TokenInvalid
        return claims

    async def poll(self) -> None:
        """Get the current keys and the new revocations; raise ServiceError if the auth service does not answer."""
        started_s = self._clock()
        answer = await self._auth.GetSigningKeys(GetSigningKeysRequest())
        revoked = await self._revoked_log_ins()
        self._keys = {
            key.kid: OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "kid": key.kid, "x": key.x})
            for key in answer.keys
        }
        oldest = max(revoked.values(), default=self._now()) - LIFETIME - OVERLAP
        self._revoked = {log_in: time for log_in, time in (self._revoked | revoked).items() if time >= oldest}
        self._polled_s = started_s

    async def _revoked_log_ins(self) -> dict[str, datetime]:
        request = ListRevokedLogInsRequest(page_size=PAGE_SIZE)
        if self._revoked:
            # Times of the auth service, because the clock of this machine may differ.
            request.since.FromDatetime(max(self._revoked.values()) - OVERLAP)
        found: dict[str, datetime] = {}
        while True:
            page = await self._auth.ListRevokedLogIns(request)
            found |= {each.log_in_id: each.revoke_time.ToDatetime(UTC) for each in page.log_ins}
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token


@asynccontextmanager
async def verifying_user_tokens(auth: AuthServiceAsyncStub, now: Callable[[], datetime]) -> AsyncIterator[UserTokens]:
    """Yield a verifier that polls at once and every second while the context is open."""
    tokens = UserTokens(auth, now)
    async with repeating("polling signing keys and revoked log-ins", tokens.poll, POLL_INTERVAL_S):
        yield tokens
