"""Base of HTTP servers for tests that record all requests and answer each as the test asks."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

from tests.support.http_messages import read_message
from tests.support.ports import free_ports

if TYPE_CHECKING:
    from tests.support.http_messages import HttpMessage

HOST = "127.0.0.1"


class RecordingServer(ABC):
    """Server at `port`, active within its async context, whose end cuts all connections."""

    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        self.requests: list[HttpMessage] = []
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

    @abstractmethod
    async def answer(self, request: HttpMessage) -> bytes | None:
        """Return the bytes of the answer; None to cut the connection instead."""

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                request = await read_message(reader)
                self.requests.append(request)
                answer = await self.answer(request)
                if answer is None:
                    return
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass  # one end has closed its connection
        finally:
            writer.transport.abort()
