"""HTTP/1.1 messages with a Content-Length, read from raw connections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class HttpMessage:
    """Request or response. `first_line` is its request or status line, and header names are in lower case."""

    first_line: str
    headers: Mapping[str, str]
    body: str
    raw: bytes


async def read_message(reader: asyncio.StreamReader) -> HttpMessage:
    """Read the next message of a connection; raise IncompleteReadError if the connection ends."""
    head = await reader.readuntil(b"\r\n\r\n")
    first_line, *fields = head.decode().strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return HttpMessage(first_line, headers, body.decode(), head + body)
