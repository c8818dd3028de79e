"""TCP proxy between a server and its callers that can be slow, lose answers, or hang."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit, urlunsplit

from tests.support.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HOST = "127.0.0.1"
MAX_CHUNK_BYTES = 65_536


class TcpProxy:
    """TCP proxy from `port` to `callee_port`, active within its async context.

    With `hangs`, the proxy does not close a caller's connection when the callee closes its own.
    """

    def __init__(self, port: int, callee_port: int, *, hangs: bool = False) -> None:
        self._port = port
        self._callee_port = callee_port
        self._hangs = hangs
        self._latency_s = 0.0
        self._loses_answers = False
        self._server: asyncio.Server | None = None
        self._forwarding: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, HOST, self._port)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._server is not None:
            self._server.close()
        await self._cut()

    async def delay_answers(self, latency_s: float, for_s: float) -> None:
        """Delay every chunk of an answer by `latency_s` for `for_s` seconds, without losing any."""
        self._latency_s = latency_s
        try:
            await asyncio.sleep(for_s)
        finally:
            self._latency_s = 0.0

    @asynccontextmanager
    async def losing_answers(self) -> AsyncIterator[None]:
        """Forward requests but drop answers while the context is open, then cut all connections."""
        self._loses_answers = True
        try:
            yield
        finally:
            self._loses_answers = False
            await self._cut()

    async def lose_answers(self, for_s: float) -> None:
        """Forward requests but drop answers for `for_s` seconds, then cut all connections."""
        async with self.losing_answers():
            await asyncio.sleep(for_s)

    async def _cut(self) -> None:
        forwarding = set(self._forwarding)
        for task in forwarding:
            task.cancel()
        if forwarding:
            await asyncio.wait(forwarding)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._forward(reader, writer))
        self._forwarding.add(task)
        task.add_done_callback(self._forwarding.discard)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward in both directions until one end closes or the link is cut."""
        ends = [writer]
        ways: list[asyncio.Task[None]] = []
        try:
            callee_reader, callee_writer = await asyncio.open_connection(HOST, self._callee_port)
            ends.append(callee_writer)
            ways.append(asyncio.create_task(_forward_requests(reader, callee_writer)))
            ways.append(asyncio.create_task(self._forward_answers(callee_reader, writer)))
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            pass  # the callee does not listen
        finally:
            for way in ways:
                way.cancel()
            for end in ends:
                end.transport.abort()

    async def _forward_answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(MAX_CHUNK_BYTES):
                if self._latency_s:
                    await asyncio.sleep(self._latency_s)
                if not self._loses_answers:
                    writer.write(data)
                    await writer.drain()
        if self._hangs:
            await asyncio.Event().wait()


@asynccontextmanager
async def proxied(database_url: str, *, hangs: bool = False) -> AsyncIterator[tuple[TcpProxy, str]]:
    """Run a proxy to the server of a database; yield the proxy, and the URL of the database through it."""
    server, (port,) = urlsplit(database_url), free_ports(1)
    assert server.port is not None
    async with TcpProxy(port, server.port, hangs=hangs) as proxy:
        yield proxy, urlunsplit(server._replace(netloc=server.netloc.replace(str(server.port), str(port))))


async def _forward_requests(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(MAX_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
