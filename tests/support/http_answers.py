"""HTTP server for tests that records requests and answers all of them alike, or not at all."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

from pydantic import SecretStr

from tests.support.http_messages import read_message
from tests.support.ports import free_ports

if TYPE_CHECKING:
    from tests.support.http_messages import HttpMessage

HOST = "127.0.0.1"


class HttpAnswers:
    """Server that answers each request with `status` and `body`, or is silent if `answers` is false."""

    def __init__(self, body: str = "{}") -> None:
        (self.port,) = free_ports(1)
        self.status = 200
        self.body = body
        self.answers = True
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

    def stripe_settings(self, key: str = "sk_test_answers") -> dict[str, Any]:
        """Return the settings of a service for which this server is the card processor."""
        return {"stripe_api_key": SecretStr(key), "stripe_api_url": f"http://{HOST}:{self.port}"}

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._answer(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                self.requests.append(await read_message(reader))
                if not self.answers:
                    await asyncio.Event().wait()
                answer = self.body.encode()
                writer.write(f"HTTP/1.1 {self.status} X\r\nContent-Length: {len(answer)}\r\n\r\n".encode() + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass  # the client has closed the connection
        finally:
            writer.transport.abort()
