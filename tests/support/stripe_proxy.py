"""HTTP proxy in front of a card processor that loses requests or answers, and records all requests."""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from typing import TYPE_CHECKING, Self

from tests.support.http_messages import read_message
from tests.support.ports import free_ports

if TYPE_CHECKING:
    from tests.support.http_messages import HttpMessage

HOST = "127.0.0.1"
REJECTION = b'HTTP/1.1 400 Bad Request\r\nContent-Length: 38\r\n\r\n{"error": {"code": "charge_disputed"}}'
FAILURE = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\n{}"


class Fault(Enum):
    """Fault of a connection to the card processor."""

    LOSE_REQUEST = auto()  # cut the connection before the request is forwarded
    LOSE_ANSWER = auto()  # cut the connection after the card processor has answered
    FAIL = auto()  # forward the request, and answer 500
    REJECT = auto()  # answer 400 without forwarding
    HANG = auto()  # forward the request, and never answer


class StripeProxy:
    """Proxy from `port` to a server at `server_port`, active within its async context."""

    def __init__(self, server_port: int) -> None:
        (self.port,) = free_ports(1)
        self._server_port = server_port
        self.requests: list[HttpMessage] = []
        self._faults: list[tuple[str, Fault]] = []
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, HOST, self.port)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

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

    def _fault_of(self, request: HttpMessage) -> Fault | None:
        path = request.first_line.removesuffix(" HTTP/1.1").partition("?")[0]
        for each in self._faults:
            beginning, _, end = each[0].rpartition(" ")
            if path.startswith(beginning) and path.endswith(end):
                self._faults.remove(each)
                return each[1]
        return None

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._forward(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                request = await read_message(reader)
                self.requests.append(request)
                fault = self._fault_of(request)
                if fault is Fault.LOSE_REQUEST:
                    return
                if fault is Fault.REJECT:
                    writer.write(REJECTION)
                    continue
                answer = await self._answer_to(request)
                if fault is Fault.LOSE_ANSWER:
                    return
                if fault is Fault.HANG:
                    await asyncio.Event().wait()
                writer.write(FAILURE if fault is Fault.FAIL else answer.raw)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass  # one end has closed its connection
        finally:
            writer.transport.abort()

    async def _answer_to(self, request: HttpMessage) -> HttpMessage:
        reader, writer = await asyncio.open_connection(HOST, self._server_port)
        try:
            writer.write(request.raw)
            return await read_message(reader)
        finally:
            writer.transport.abort()
