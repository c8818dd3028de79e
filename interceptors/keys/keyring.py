"""Service API keys and keyrings: format, verification, scopes and validity. No I/O.

A key has the form `sk_<environment>_<id>_<secret><checksum>`. The checksum is six base-62 digits of CRC-32, so scanners
can recognize keys, and typos are rejected without a lookup. A keyring stores the SHA-256 of each key, never the key
itself. A fast hash is enough for 190 random bits.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
import secrets
import string
import zlib
from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
ID_LENGTH = 12
SECRET_LENGTH = 32
CHECKSUM_LENGTH = 6
_ID_IN_KEY = slice(-(ID_LENGTH + 1 + SECRET_LENGTH + CHECKSUM_LENGTH), -(1 + SECRET_LENGTH + CHECKSUM_LENGTH))
_FORM = re.compile(rf"sk_[a-z]{{1,16}}_([0-9A-Za-z]{{{ID_LENGTH}}})_[0-9A-Za-z]{{{SECRET_LENGTH + CHECKSUM_LENGTH}}}")

# The name appears in logs and metrics, and a local mesh names files after it.
_CALLER_FORM = re.compile(r"[0-9A-Za-z]([0-9A-Za-z ._-]{0,62}[0-9A-Za-z._-])?")


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """Record of one key: its caller, hash, scopes and period of validity (UTC)."""

    key_id: str
    caller: str
    sha256: str
    scopes: frozenset[str]
    not_before: datetime
    not_after: datetime | None = None
    revoked: bool = False

    def is_valid(self, now: datetime) -> bool:
        """Return whether the key is valid at `now`."""
        return not self.revoked and self.not_before <= now and (self.not_after is None or now < self.not_after)


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """Record in a keyring, with its times in seconds since 1970, as `time.time()` returns them.

    `newer` are the later keys of the same caller. A revoked key ends before it begins.
    """

    record: KeyRecord
    begins_s: float
    ends_s: float
    newer: tuple[KeyEntry, ...] = ()

    def is_valid(self, now_s: float) -> bool:
        """Return whether the key is valid at `now_s`, in the same time for every key."""
        return (self.begins_s <= now_s) & (now_s < self.ends_s)

    def rejection_at(self, now_s: float) -> str:
        """Return why the key is not valid at `now_s`: "revoked", "not yet valid" or "expired"."""
        if self.record.revoked:
            return "revoked"
        return "not yet valid" if now_s < self.begins_s else "expired"

    def is_superseded(self, now_s: float) -> bool:
        """Return whether the key's caller has a later key that is valid at `now_s`."""
        return any(later.is_valid(now_s) for later in self.newer)


@dataclass(frozen=True, slots=True)
class RejectedKey:
    """Facts about a rejected key, for operators.

    `cause` is "revoked", "not yet valid", "expired", "wrong secret" (only the id is known) or "unknown". `caller` is
    empty unless the secret is right.
    """

    key_id: str
    caller: str
    cause: str


class Keyring:
    """All keys that a server accepts. A caller may have several, which allows rotation.

    A verified key is cached, so its next call needs no hash. Its period of validity is checked on each call. The
    records never change: changed keys need a new keyring, which caches only keys that it has verified itself.
    """

    def __init__(self, records: Iterable[KeyRecord] = ()) -> None:
        self._by_id = _entries({record.key_id: record for record in records}.values())
        # Cache by full key. The timing of a lookup reveals no more than the response does, because Python's
        # dictionaries compare a keyed hash first. Only verified keys are added, so the cache is never larger than the
        # keyring.
        self._active: dict[str, KeyEntry] = {}
        # Cached keys without a use since the last `take_uses`, and the first use of each key since then.
        self._idle: dict[str, KeyEntry] = {}
        self._uses: dict[str, float] = {}

    def __iter__(self) -> Iterator[KeyRecord]:
        return (entry.record for entry in self._by_id.values())

    def find(self, key: str, now: datetime) -> KeyRecord | None:
        """Return the record of a valid key, or None. The time taken does not depend on the secret."""
        entry = self.look_up(key, now.timestamp())
        return entry.record if entry else None

    def look_up(self, key: str, now_s: float) -> KeyEntry | None:
        """Return the record of a valid key, or None. Takes the same time for unknown, revoked and wrong keys."""
        entry = self._by_id.get(id_of_key(key) or "", _NO_KEY)
        is_known = hmac.compare_digest(hash_of_key(key), entry.record.sha256)
        if not is_known & entry.is_valid(now_s):
            return None
        self._active[key] = entry
        self._uses[entry.record.key_id] = now_s
        return entry

    def rejection_of(self, key: str, now_s: float) -> RejectedKey:
        """Return why `look_up` rejects a key. Takes the same time for unknown, revoked and wrong keys."""
        key_id = id_of_key(key) or ""
        entry = self._by_id.get(key_id, _NO_KEY)
        is_known = hmac.compare_digest(hash_of_key(key), entry.record.sha256)
        # Build both, then choose without a branch, so that both cases take the same time.
        unproven = ("", "unknown" if entry is _NO_KEY else "wrong secret")
        proven = (entry.record.caller, entry.rejection_at(now_s))
        return RejectedKey(key_id, *(unproven, proven)[is_known])

    def cached(self, key: str, now_s: float) -> KeyEntry | None:
        """Return the cached record of a key that is valid at `now_s`, or None. Hashes nothing."""
        entry = self._active.get(key) or self._cached_idle(key, now_s)
        return entry if entry is not None and entry.begins_s <= now_s < entry.ends_s else None

    def _cached_idle(self, key: str, now_s: float) -> KeyEntry | None:
        entry = self._idle.pop(key, None)
        if entry is not None:
            self._active[key] = entry
            self._uses[entry.record.key_id] = now_s
        return entry

    def take_uses(self) -> dict[str, float]:
        """Return the first use of each key since the last `take_uses`, by key id, and start over.

        Called once a minute, it yields the last use of each key to the minute, at no cost for calls.
        """
        uses, self._uses = self._uses, {}
        self._idle.update(self._active)
        self._active = {}
        return uses

    def id_claimed_by(self, key: str) -> str:
        """Return the id in `key` if the keyring has it, or an empty string. Hashes nothing and proves nothing."""
        claimed = key[_ID_IN_KEY]
        return claimed if claimed in self._by_id else ""

    def warm_from(self, earlier: Keyring, now_s: float) -> None:
        """Look up every key that `earlier` has cached, so that keys still valid are cached here too."""
        for key in (*earlier._active, *earlier._idle):
            self.look_up(key, now_s)
        # The lookups above are not uses of the keys.
        self._idle, self._active, self._uses = self._active, {}, earlier._uses


def _entries(records: Iterable[KeyRecord]) -> dict[str, KeyEntry]:
    entries: dict[str, KeyEntry] = {}
    of_caller: defaultdict[str, list[KeyEntry]] = defaultdict(list)
    for record in records:
        ends_s = record.not_after.timestamp() if record.not_after else math.inf
        entry = KeyEntry(record, record.not_before.timestamp(), -math.inf if record.revoked else ends_s)
        entries[record.key_id] = entry
        if not record.revoked:
            of_caller[record.caller].append(entry)
    for key_id, entry in entries.items():
        newer = tuple(other for other in of_caller[entry.record.caller] if other.begins_s > entry.begins_s)
        entries[key_id] = replace(entry, newer=newer)
    return entries


_NO_KEY = KeyEntry(KeyRecord("", "", "0" * 64, frozenset(), datetime.max.replace(tzinfo=UTC)), math.inf, -math.inf)


def mint_key(environment: str) -> str:
    """Return a new key for an environment such as "dev" or "live"."""
    key_id = _random_text(ID_LENGTH)
    body = f"sk_{environment}_{key_id}_{_random_text(SECRET_LENGTH)}"
    return body + checksum(body)


def id_of_key(key: str) -> str | None:
    """Return the id in a well-formed key, or None if its form or checksum is wrong."""
    match = _FORM.fullmatch(key)
    if match is None or checksum(key[:-CHECKSUM_LENGTH]) != key[-CHECKSUM_LENGTH:]:
        return None
    return match[1]


def hash_of_key(key: str) -> str:
    """Return the SHA-256 of a key in hexadecimal, as a keyring stores it."""
    return hashlib.sha256(key.encode()).hexdigest()


def record_of_key(key: str, caller: str, scopes: Iterable[str], *, now: datetime | None = None) -> KeyRecord:
    """Return the record of a key that is valid from `now` on, without an end.

    Raises ValueError if the key or the caller's name is malformed.
    """
    key_id = id_of_key(key)
    if key_id is None:
        raise ValueError("This is not a well-formed key.")
    if not is_caller_name(caller):
        raise ValueError('This is not a caller name: use 1 to 64 letters, digits, ".", "_", "-" and inner spaces.')
    return KeyRecord(key_id, caller, hash_of_key(key), frozenset(scopes), now or datetime.now(UTC))


def is_caller_name(caller: str) -> bool:
    """Return whether a caller's name is valid: 1 to 64 letters, digits, ".", "_", "-" and inner spaces."""
    return _CALLER_FORM.fullmatch(caller) is not None


def _random_text(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def checksum(body: str) -> str:
    """Return the six checksum digits of a key that starts with `body`."""
    number, digits = zlib.crc32(body.encode()), []
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))
