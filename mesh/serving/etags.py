"""Etags of resources (AIP-154): checksums of messages, which detect that a resource has changed since it was read."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from contracts.errors import EtagMismatch

if TYPE_CHECKING:
    from google.protobuf.message import Message

_HEX_DIGITS = 32


def etag_of(resource: Message) -> str:
    """Return the etag of a resource whose own `etag` is not set yet: 32 hexadecimal digits.

    The resource should contain its time of update, so that equal contents at different times have different etags.
    """
    content = resource.SerializeToString(deterministic=True)
    return hashlib.sha256(resource.DESCRIPTOR.full_name.encode() + b"\0" + content).hexdigest()[:_HEX_DIGITS]


def require_etag(sent: str, current: str) -> None:
    """Raise EtagMismatch if the caller sent an etag, and it is not the current one of the locked resource."""
    if sent and sent != current:
        raise EtagMismatch
