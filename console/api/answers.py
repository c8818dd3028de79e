"""Answers of the API: one response, a stream of responses, or an error, in the form of the Connect protocol."""

from __future__ import annotations

import math
from base64 import b64encode
from typing import TYPE_CHECKING

from console.api.codecs import END_OF_STREAM, STREAMING, envelope, json_bytes
from console.api.errors import NotServed, error_as_json, http_status_of
from contracts.metadata import CORRELATION_ID

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from starlette.types import Send

    from contracts.errors import ServiceError
    from operations.calls.trailing_metadata import Trailing

OK = 200
# Metadata with these prefixes belongs to a protocol and not to a call.
_RESERVED = ("grpc-", "connect-")


class Answer:
    """Answer to one request. `media_type` is that of the request, and decides how an error is sent."""

    def __init__(self, send: Send, media_type: str, correlation_id: str) -> None:
        self._send = send
        self._media_type = media_type
        self._correlation_id = correlation_id
        self._has_begun = False

    async def send_response(self, body: bytes, media_type: str, trailing: Trailing) -> None:
        """Send the only response of a call."""
        await self._begin(OK, media_type, [*_as_headers(trailing), _length_of(body)])
        await self._send_body(body)

    async def send_message(self, data: bytes) -> None:
        """Send one message of a stream."""
        await self.begin_stream()
        await self._send_body(envelope(data), more=True)

    async def begin_stream(self) -> None:
        """Send the headers of a stream, unless they are sent."""
        if not self._has_begun:
            await self._begin(OK, self._media_type)

    async def end_stream(self, trailing: Trailing, error: dict[str, object] | None = None) -> None:
        """Send the last message of a stream, with the error of the call if there is one."""
        await self.begin_stream()
        metadata: dict[str, list[str]] = {}
        for name, value in _custom(trailing):
            metadata.setdefault(name, []).append(value)
        end = ({"error": error} if error else {}) | ({"metadata": metadata} if metadata else {})
        await self._send_body(envelope(json_bytes(end), END_OF_STREAM))

    async def fail(self, error: ServiceError, trailing: Trailing) -> None:
        """Send an error, at the end of the stream if the client awaits a stream."""
        content = error_as_json(error, error.correlation_id or self._correlation_id)
        body = json_bytes(content)
        if self._media_type in STREAMING and not isinstance(error, NotServed):
            await self.end_stream(trailing, content)
            return
        headers = error.headers if isinstance(error, NotServed) else {}
        if error.retry_after_s is not None:
            headers = {**headers, "Retry-After": str(math.ceil(error.retry_after_s))}
        fields = [*_as_headers(trailing), *headers.items(), _length_of(body)]
        await self._begin(http_status_of(error), "application/json", fields)
        await self._send_body(body)

    async def _begin(self, status: int, media_type: str, headers: Iterable[tuple[str, str]] = ()) -> None:
        self._has_begun = True
        # The response belongs to one key, so no cache may store it.
        own = [("Content-Type", media_type), ("Cache-Control", "no-store"), (CORRELATION_ID, self._correlation_id)]
        sent = [(name.lower().encode(), value.encode()) for name, value in (*own, *headers)]
        await self._send({"type": "http.response.start", "status": status, "headers": sent})

    async def _send_body(self, data: bytes, *, more: bool = False) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": more})


def _length_of(body: bytes) -> tuple[str, str]:
    return "Content-Length", str(len(body))


def _as_headers(trailing: Trailing) -> list[tuple[str, str]]:
    return [(f"trailer-{name}", value) for name, value in _custom(trailing)]


def _custom(trailing: Trailing) -> Iterator[tuple[str, str]]:
    """Yield trailing metadata as text, without that of gRPC."""
    for name, value in trailing:
        if not name.startswith(_RESERVED):
            yield name, value if isinstance(value, str) else b64encode(value).rstrip(b"=").decode()
