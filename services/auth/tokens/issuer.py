"""Issuer and verifier of access tokens, with the keys that all replicas share."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from contracts.errors import TokenInvalid
from mesh.access_tokens import LIFETIME, AccessClaims, key_id_of, sign_access_token, verify_access_token
from services.auth.tokens.domain import is_successor_due, published_keys, signing_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from services.auth.tokens.domain import SigningKey
    from services.auth.tokens.store import SigningKeyStore


class TokenIssuer:
    """Issuer of access tokens.

    Each replica reads the keys again when a new key is due. So it knows a key before the key signs, whichever replica
    has created it.
    """

    def __init__(self, store: SigningKeyStore) -> None:
        self._store = store
        self._keys: Sequence[SigningKey] = []

    async def issue(
        self, user_id: UUID, roles: tuple[str, ...], log_in_id: UUID, now: datetime
    ) -> tuple[str, datetime]:
        """Return a new access token and its expiry."""
        issue_time = now.replace(microsecond=0)
        claims = AccessClaims(user_id, roles, log_in_id, uuid4(), issue_time, issue_time + LIFETIME)
        key = signing_key(await self._current_keys(now), now)
        return sign_access_token(claims, key.jwk), claims.expire_time

    async def verify(self, access_token: str, now: datetime) -> AccessClaims:
        """Return the claims of an access token; raise TokenInvalid. Does not check whether the log-in is revoked."""
        key_id = key_id_of(access_token)
        keys = {key.key_id: key.jwk for key in await self.published(now)}
        if key_id not in keys:
            # Another replica, whose clock is ahead, may have created the key moments ago.
            self._keys = await self._store.load()
            keys = {key.key_id: key.jwk for key in published_keys(self._keys, now)}
        if key_id not in keys:
            raise TokenInvalid
        return verify_access_token(access_token, keys[key_id], now)

    async def published(self, now: datetime) -> list[SigningKey]:
        """Return the keys that verify tokens, oldest first."""
        return published_keys(await self._current_keys(now), now)

    async def rotate(self, now: datetime) -> None:
        """Add a key if one is due, and delete unused keys and private halves."""
        self._keys = await self._store.rotate(now)

    async def _current_keys(self, now: datetime) -> Sequence[SigningKey]:
        if is_successor_due(self._keys, now):
            await self.rotate(now)
        return self._keys
