"""Etags of resources: checksums that an update must repeat, so that it overwrites no concurrent change (AIP-154)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from contracts.errors import EtagMismatch

if TYPE_CHECKING:
    from google.protobuf.message import Message

_ETAG_FIELD = "etag"
_ETAG_BYTES = 16


def etag_of(resource: Message) -> str:
    """Return the checksum of a resource without its field `etag`, as 32 hexadecimal digits."""
    content = type(resource)()
    content.CopyFrom(resource)
    content.ClearField(_ETAG_FIELD)
    return hashlib.sha256(content.SerializeToString(deterministic=True)).digest()[:_ETAG_BYTES].hex()


def require_etag(expected: str, stored: str) -> None:
    """Raise EtagMismatch if the etag that a caller expects is not that of the stored resource."""
    if expected != stored:
        raise EtagMismatch
