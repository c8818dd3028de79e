"""HTTP proxy in front of a card processor that loses requests or answers, and records all requests."""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from typing import TYPE_CHECKING

from tests.support.http_messages import read_message
from tests.support.recording_server import HOST, RecordingServer

if TYPE_CHECKING:
    from tests.support.http_messages import HttpMessage

REJECTION = b'HTTP/1.1 400 Bad Request\r\nContent-Length: 38\r\n\r\n{"error": {"code": "charge_disputed"}}'
FAILURE = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\n{}"


class Fault(Enum):
    """Fault of a connection to the card processor."""

    LOSE_REQUEST = auto()  # cut the connection before the request is forwarded
    LOSE_ANSWER = auto()  # cut the connection after the card processor has answered
    FAIL = auto()  # forward the request, and answer 500
    REJECT = auto()  # answer 400 without forwarding
    HANG = auto()  # forward the request, and never answer


class StripeProxy(RecordingServer):
    """Proxy from `port` to a server at `server_port`, active within its async context."""

    def __init__(self, server_port: int) -> None:
        super().__init__()
        self._server_port = server_port
        self._faults: list[tuple[str, Fault]] = []

    def add_fault(self, beginning: str, end: str, fault: Fault) -> None:
        """Add a fault to the next request with this begin of its path, such as "POST /v1/refunds", and this end."""
        self._faults.append((f"{beginning} {end}", fault))

    def clear_faults(self) -> None:
        """Remove all faults."""
        self._faults.clear()

    @property
    def open_faults(self) -> int:
        """Number of faults that no request has met."""
        return len(self._faults)

    async def answer(self, request: HttpMessage) -> bytes | None:
        fault = self._fault_of(request)
        if fault is Fault.LOSE_REQUEST:
            return None
        if fault is Fault.REJECT:
            return REJECTION
        answer = await self._answer_to(request)
        if fault is Fault.LOSE_ANSWER:
            return None
        if fault is Fault.HANG:
            await asyncio.Event().wait()
        return FAILURE if fault is Fault.FAIL else answer.raw

    def _fault_of(self, request: HttpMessage) -> Fault | None:
        path = request.first_line.removesuffix(" HTTP/1.1").partition("?")[0]
        for each in self._faults:
            beginning, _, end = each[0].rpartition(" ")
            if path.startswith(beginning) and path.endswith(end):
                self._faults.remove(each)
                return each[1]
        return None

    async def _answer_to(self, request: HttpMessage) -> HttpMessage:
        reader, writer = await asyncio.open_connection(HOST, self._server_port)
        try:
            writer.write(request.raw)
            return await read_message(reader)
        finally:
            writer.transport.abort()
