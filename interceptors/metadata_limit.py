"""Metadata limit: no more metadata than agreed reaches anything that reads it.

gRPC's core has options for this (`grpc.max_metadata_size`), but a peer that is not gRPC's own gets past them.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from contracts.errors import MessageTooLarge
from interceptors.server import Call, ServerInterceptor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interceptors.server import Proceed

# RFC 9113, 6.5.2: what each field counts beside its name and value.
BYTES_OF_A_FIELD = 32
LARGEST_METADATA_BYTES = 8 * 1024


class ServerMetadataLimit(ServerInterceptor):
    """Refuses a call whose metadata is larger than `largest_bytes`, counted as HTTP/2 does.

    >>> ask(ServerMetadataLimit(), metadata={"x-size": "a" * 5000})
    'hi'
    >>> ask(ServerMetadataLimit(largest_bytes=4000), metadata={"x-size": "a" * 5000})
    'MESSAGE_TOO_LARGE'
    """

    def __init__(self, largest_bytes: int = LARGEST_METADATA_BYTES) -> None:
        self._largest_bytes = largest_bytes

    async def intercept(self, call: Call, proceed: Proceed) -> bytes | None:
        # No local variable for the fields: a traceback would show the API key among them.
        if _size_of(call.fields) > self._largest_bytes:
            raise MessageTooLarge(f"The metadata is larger than {self._largest_bytes} bytes.")
        return await proceed(call)


def _size_of(fields: Sequence[tuple[str, str]]) -> int:
    return BYTES_OF_A_FIELD * len(fields) + sum(map(len, chain.from_iterable(fields)))
