"""Log-ins and their refresh tokens: each token has one successor, and a copied token is noticed at its second use."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto
from typing import TYPE_CHECKING

from mesh import base64url

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

TOKEN_BYTES = 32
# A refresh token expires after this time without use, and a log-in after the second one in any case.
IDLE_LIFETIME = timedelta(days=30)
MAX_LIFETIME = timedelta(days=365)
# Two tabs of a browser, or a retry, use the same token almost at the same time.
REUSE_WINDOW = timedelta(seconds=10)


class Use(Enum):
    """Verdict on the use of a refresh token. INVALID: unknown, expired or revoked."""

    INVALID = auto()
    FIRST = auto()
    REPEATED = auto()
    STOLEN = auto()


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """Stored refresh token, without the token itself, and its log-in."""

    log_in_id: UUID
    user_id: UUID
    log_in_time: datetime
    is_revoked: bool
    expire_time: datetime
    use_time: datetime | None
    salt: bytes | None

    def is_valid(self, now: datetime) -> bool:
        """Return whether the log-in is not revoked and the token has not expired, used or not."""
        return not self.is_revoked and now < self.expire_time

    def use(self, now: datetime) -> Use:
        """Return the verdict on a use at `now`."""
        if not self.is_valid(now):
            return Use.INVALID
        if self.use_time is None:
            return Use.FIRST
        return Use.REPEATED if self.salt is not None and now <= self.use_time + REUSE_WINDOW else Use.STOLEN

    def successor_expire_time(self, use_time: datetime) -> datetime:
        """Return the expiry of the successor of a token that was first used at `use_time`."""
        return min(use_time + IDLE_LIFETIME, self.log_in_time + MAX_LIFETIME)


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """Refresh token to hand out, and its expiry."""

    token: bytes
    expire_time: datetime
    log_in_id: UUID

    @property
    def text(self) -> str:
        """The token as its user gets it: base64url without padding."""
        return base64url.encode(self.token)


def new_token() -> bytes:
    """Return 256 random bits."""
    return secrets.token_bytes(TOKEN_BYTES)


def read_token(text: str) -> bytes | None:
    """Return the bytes of a token; None if the text cannot be a token."""
    try:
        token = base64url.decode_exact(text)
    except ValueError:
        return None
    return token if len(token) == TOKEN_BYTES else None


def token_sha256(token: bytes) -> bytes:
    """Return the SHA-256 of a token, which is stored instead of the token."""
    return hashlib.sha256(token).digest()


def successor_of(token: bytes, salt: bytes) -> bytes:
    """Return the successor of a token: neither the token nor the stored salt alone is enough to compute it."""
    return hmac.digest(token, salt, "sha256")
