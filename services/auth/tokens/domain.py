"""Signing keys and their rotation: a key is published before it signs, and until its last token has expired."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from joserfc.jwk import OKPKey

from mesh.access_tokens import CLOCK_SKEW, LIFETIME

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

# Time that a key signs.
ROTATION = timedelta(days=1)
# Verifiers may cache the published keys for this long.
PUBLISHED_BEFORE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """Key pair that signs from `sign_time` until the sign time of the next key.

    `jwk` has no private half if the key no longer signs.
    """

    jwk: OKPKey
    sign_time: datetime

    @property
    def key_id(self) -> str:
        """The thumbprint of the public key."""
        return self.jwk.thumbprint()


def new_key(sign_time: datetime) -> SigningKey:
    """Return a new random key."""
    jwk = OKPKey.generate_key("Ed25519", auto_kid=True)
    return SigningKey(jwk, sign_time)


def signing_key(keys: Sequence[SigningKey], now: datetime) -> SigningKey:
    """Return the key that signs at `now`, out of at least one, oldest first."""
    # The first key of all may begin in the future if another replica, whose clock is ahead, created it.
    return max((key for key in keys if key.sign_time <= now), key=lambda key: key.sign_time, default=keys[0])


def is_successor_due(keys: Sequence[SigningKey], now: datetime) -> bool:
    """Return whether a new key has to be published at `now`; `keys` are in the order of their sign times."""
    return not keys or now >= keys[-1].sign_time + ROTATION - PUBLISHED_BEFORE


def next_sign_time(keys: Sequence[SigningKey], now: datetime) -> datetime:
    """Return the sign time of a key that is published at `now`. The first key of all signs at once."""
    return max(keys[-1].sign_time + ROTATION, now + PUBLISHED_BEFORE) if keys else now


def published_keys(keys: Sequence[SigningKey], now: datetime) -> list[SigningKey]:
    """Return the keys without those whose tokens have all expired at `now`."""
    successors = [*keys[1:], None]
    return [
        key
        for key, successor in zip(keys, successors, strict=True)
        if successor is None or now < successor.sign_time + LIFETIME + CLOCK_SKEW
    ]
