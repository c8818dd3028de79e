"""Well-formed but invalid keys of all kinds, for timing tests of their rejection."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from interceptors.keys.keyring import CHECKSUM_LENGTH, SECRET_LENGTH, Keyring, checksum, mint_key, record_of_key


class InvalidKeys:
    """Keyring and `per_kind` keys for each kind of rejection: unknown id, wrong secret, revoked."""

    def __init__(self, per_kind: int) -> None:
        now = datetime.now(UTC)
        good = [mint_key("test") for _ in range(100)]
        revoked = [mint_key("test") for _ in range(100)]
        self.now_s = now.timestamp()
        self.keyring = Keyring(
            [
                *(record_of_key(key, "session", ["example.echo"], now=now) for key in good),
                *(replace(record_of_key(key, "gym", [], now=now), revoked=True) for key in revoked),
            ]
        )
        rounds = range(per_kind)
        self._by_kind = {
            "unknown id": [mint_key("test") for _ in rounds],
            "wrong secret": [_with_another_secret(good[each % 100]) for each in rounds],
            "revoked": [revoked[each % 100] for each in rounds],
        }

    def samples(self) -> list[tuple[str, str]]:
        """Return each invalid key with its kind."""
        return [(kind, key) for kind, keys in self._by_kind.items() for key in keys]


def _with_another_secret(key: str) -> str:
    length = SECRET_LENGTH + CHECKSUM_LENGTH
    body = key[:-length] + mint_key("test")[-length:-CHECKSUM_LENGTH]
    return body + checksum(body)
