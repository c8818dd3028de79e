"""Limit on the size of a call's metadata.

gRPC's core has options for such a limit (`grpc.max_metadata_size`), but a client without gRPC's core can evade them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.errors import MessageTooLarge
from contracts.metadata import MAX_METADATA_BYTES as MAX_METADATA_BYTES
from contracts.metadata import metadata_size
from interceptors.chain.server import ServerInterceptor

if TYPE_CHECKING:
    from interceptors.chain.call import Call


class ServerMetadataLimit(ServerInterceptor):
    """Server interceptor that rejects calls with more than `max_bytes` of metadata, counted as in HTTP/2.

    >>> call_echo(ServerMetadataLimit(), metadata={"x-size": "a" * 5000})
    'hi'
    >>> call_echo(ServerMetadataLimit(max_bytes=4000), metadata={"x-size": "a" * 5000})
    'MESSAGE_TOO_LARGE'
    """

    def __init__(self, max_bytes: int = MAX_METADATA_BYTES) -> None:
        self._max_bytes = max_bytes

    def start(self, call: Call) -> None:
        # Do not store the fields in a local variable: a traceback would show the API key.
        if metadata_size(call.fields) > self._max_bytes:
            raise MessageTooLarge(f"The metadata is larger than {self._max_bytes} bytes. Send less.")
