"""HTTP connections of the console, with limits for slow and for endless requests.

Without them, a client that never completes its requests could use all connections, and a client with an endless header
could use all memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio

# A request must have arrived completely within this time.
REQUEST_TIMEOUT_S = 15.0
# All cookies of a host are in the header, also those of programs on its other ports.
MAX_HEAD_BYTES = 64 * 1024


class LimitedConnection(HttpToolsProtocol):
    """Connection that ends if a request takes longer than REQUEST_TIMEOUT_S, or its header is too large.

    The time of the first request begins with the connection.
    """

    _timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _is_in_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._begin_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_request()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._head_bytes += len(data) if self._is_in_head else 0
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The header of the request is too large.")

    def handle_websocket_upgrade(self) -> None:
        self._end_request()
        super().handle_websocket_upgrade()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._end_request()
        self._begin_request()

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._end_request()
        super().on_message_complete()

    def _begin_request(self) -> None:
        self._is_in_head, self._head_bytes = True, 0
        self._timer = self.loop.call_later(REQUEST_TIMEOUT_S, self.transport.close)

    def _end_request(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
