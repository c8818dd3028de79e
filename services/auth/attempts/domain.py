"""Pauses after wrong passwords: they grow with each failure, up to a limit."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from contracts.canonical import canonical_address
from contracts.mail_address import folded

FIRST_PAUSE = timedelta(seconds=1)
# Failures stop counting after this long without another one.
FORGET_AFTER = timedelta(hours=1)
# A source that has logged in to an account counts as known for this long.
KNOWN_FOR = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Limit:
    """Number of failures without a pause, and the longest pause."""

    free: int
    max_pause: timedelta


ADDRESS_LIMIT = Limit(free=5, max_pause=timedelta(minutes=5))
# Many people share the address of an office or a mobile network.
SOURCE_LIMIT = Limit(free=100, max_pause=timedelta(minutes=15))


@dataclass(frozen=True, slots=True)
class Failures:
    """Failed attempts of one subject, and the time of the last one."""

    count: int
    last_time: datetime

    def count_at(self, now: datetime) -> int:
        """Return the number of failures that still count."""
        return 0 if now - self.last_time >= FORGET_AFTER else self.count

    def remaining_pause(self, limit: Limit, now: datetime) -> timedelta:
        """Return the time until another attempt is allowed; zero or negative if it is allowed now."""
        count = self.count_at(now)
        if count < limit.free:
            return timedelta()
        doublings = min(count - limit.free, 20)  # far beyond each limit, and far below an overflow
        pause = min(FIRST_PAUSE * (1 << doublings), limit.max_pause)
        return self.last_time + pause - now


@dataclass(frozen=True, slots=True)
class Subjects:
    """Hashes of the address and the source of an attempt. `source` and `pair` are None if the source is unknown."""

    address: bytes
    source: bytes | None
    pair: bytes | None

    @classmethod
    def of(cls, email: str, source_ip: str) -> Subjects:
        """Return the subjects of an attempt; all spellings of an address or a source are one subject."""
        address, source = folded(email), canonical_address(source_ip) if source_ip else ""
        return cls(
            address=_sha256("address", address),
            source=_sha256("source", source) if source else None,
            pair=_sha256("pair", address, source) if source else None,
        )


def _sha256(*parts: str) -> bytes:
    return hashlib.sha256("\0".join(parts).encode()).digest()
