"""Metadata of calls: its keys and its limit, which servers, clients and test doubles of a contract share."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

API_KEY = "x-api-key"
CORRELATION_ID = "x-correlation-id"
IDEMPOTENCY_KEY = "idempotency-key"
# Sent with the response if it is the stored response of an earlier call with the same key.
REPLAYED = "idempotent-replayed"
# Serialized google.rpc.Status of a rejected call.
STATUS_DETAILS = "grpc-status-details-bin"

MAX_METADATA_BYTES = 8 * 1024
# RFC 9113, 6.5.2: bytes that each field counts in addition to its name and value.
FIELD_OVERHEAD_BYTES = 32


def metadata_size(fields: Sequence[tuple[str, str | bytes]]) -> int:
    """Return the size of metadata in bytes, counted as in HTTP/2."""
    return FIELD_OVERHEAD_BYTES * len(fields) + sum(map(len, chain.from_iterable(fields)))
