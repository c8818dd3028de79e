"""Service API keys: how one is written, how a keyring knows it, and what its owner may do. No I/O.

A key reads `sk_<environment>_<id>_<secret><checksum>`. The checksum (six base-62 digits of CRC-32) lets a scanner tell
a key from noise and a typo be refused without a look-up. A keyring holds the SHA-256 of each key, never the key: 190
random bits need no slow hash.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
ID_LENGTH = 12
SECRET_LENGTH = 32
CHECKSUM_LENGTH = 6
_FORM = re.compile(rf"sk_[a-z]{{1,16}}_([0-9A-Za-z]{{{ID_LENGTH}}})_[0-9A-Za-z]{{{SECRET_LENGTH + CHECKSUM_LENGTH}}}")


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What a keyring knows of one key: whose it is, what it entitles to, and from when until when (UTC)."""

    key_id: str
    caller: str
    sha256: str
    scopes: frozenset[str]
    not_before: datetime
    not_after: datetime | None = None
    revoked: bool = False

    def is_valid(self, now: datetime) -> bool:
        """Tell whether the key opens anything at `now`."""
        return not self.revoked and self.not_before <= now and (self.not_after is None or now < self.not_after)


class Keyring:
    """All keys that a server accepts; a caller may hold several at once, which is how keys are rotated."""

    def __init__(self, records: Iterable[KeyRecord] = ()) -> None:
        self._by_id = {record.key_id: record for record in records}

    def __iter__(self) -> Iterator[KeyRecord]:
        return iter(self._by_id.values())

    def find(self, key: str, now: datetime) -> KeyRecord | None:
        """Return the record of a valid key, or None; how long that takes does not depend on the secret."""
        key_id = id_of_key(key)
        record = self._by_id.get(key_id) if key_id else None
        expected = record.sha256 if record else _NO_HASH
        if not hmac.compare_digest(hash_of_key(key), expected) or record is None:
            return None
        return record if record.is_valid(now) else None


_NO_HASH = "0" * 64


def mint_key(environment: str) -> str:
    """Return a new key for an environment such as "dev" or "live"."""
    key_id = _random_text(ID_LENGTH)
    body = f"sk_{environment}_{key_id}_{_random_text(SECRET_LENGTH)}"
    return body + _checksum(body)


def id_of_key(key: str) -> str | None:
    """Return the id within a well-formed key, or None where form or checksum is wrong."""
    match = _FORM.fullmatch(key)
    if match is None or _checksum(key[:-CHECKSUM_LENGTH]) != key[-CHECKSUM_LENGTH:]:
        return None
    return match[1]


def hash_of_key(key: str) -> str:
    """Return what a keyring keeps of a key: its SHA-256 in hexadecimal."""
    return hashlib.sha256(key.encode()).hexdigest()


def record_of_key(key: str, caller: str, scopes: Iterable[str], *, now: datetime | None = None) -> KeyRecord:
    """Return the record of a well-formed key that is valid from `now` on, for ever."""
    key_id = id_of_key(key)
    if key_id is None:
        raise ValueError("not a well-formed key")
    return KeyRecord(key_id, caller, hash_of_key(key), frozenset(scopes), now or datetime.now(UTC))


def _random_text(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def _checksum(body: str) -> str:
    number, digits = zlib.crc32(body.encode()), []
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))
