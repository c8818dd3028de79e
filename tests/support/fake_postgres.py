"""Fake PostgreSQL server of any version that accepts every login and closes the connection at the first query.

    async with fake_postgres("15.18") as url: ...

The server implements the start-up phase of PostgreSQL's protocol version 3, supported by every release since 7.4.
"""

from __future__ import annotations

import asyncio
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SSL_REQUEST = 80_877_103
GREETING = {"server_encoding": "UTF8", "client_encoding": "UTF8", "TimeZone": "UTC"}


@asynccontextmanager
async def fake_postgres(version: str) -> AsyncIterator[str]:
    """Listen on a free port within the context; yield the server's URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _accept_login(reader, writer, version)
            await reader.read(1)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has closed the connection
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"postgresql://ada@127.0.0.1:{server.sockets[0].getsockname()[1]}/solo60"


async def _accept_login(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, version: str) -> None:
    while True:
        length, code = struct.unpack("!ii", await reader.readexactly(8))
        await reader.readexactly(length - 8)
        if code != SSL_REQUEST:
            break
        writer.write(b"N")
    writer.write(_message(b"R", struct.pack("!i", 0)))
    for name, value in {"server_version": version, **GREETING}.items():
        writer.write(_message(b"S", f"{name}\0{value}\0".encode()))
    writer.write(_message(b"K", struct.pack("!ii", 1, 1)) + _message(b"Z", b"I"))
    await writer.drain()


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body
