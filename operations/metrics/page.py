"""Reader of one Prometheus page over HTTP, never through a proxy."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mesh.failure import Failure

if TYPE_CHECKING:
    from urllib.parse import SplitResult

# A page that takes longer would delay the numbers of all services.
TIMEOUT_S = 1.0
MAX_BYTES = 8 * 1024 * 1024
OK = 200


class UnreadablePage(Failure):
    """A Prometheus page cannot be read; the message gives its address and the reason."""


async def read_page(url: str, timeout_s: float = TIMEOUT_S) -> str:
    """Return the text of a Prometheus page; raise UnreadablePage, at the latest after `timeout_s`."""
    parts = urlsplit(url)
    connect = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = connect(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        async with asyncio.timeout(timeout_s):
            return await asyncio.to_thread(_get, connection, parts)
    except TimeoutError:
        raise UnreadablePage(f"{parts.netloc} did not answer within {timeout_s:g} s.") from None
    except ConnectionRefusedError:
        raise UnreadablePage(f"{parts.netloc} refuses connections.") from None
    except (OSError, HTTPException) as error:
        raise UnreadablePage(f"{parts.netloc} cannot be read: {type(error).__name__}.") from None
    finally:
        _end(connection)


def _get(connection: HTTPConnection, parts: SplitResult) -> str:
    connection.request("GET", f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}")
    response = connection.getresponse()
    if response.status != OK:
        raise UnreadablePage(f"{parts.netloc} answered with HTTP status {response.status}.")
    body = response.read(MAX_BYTES + 1)
    if len(body) > MAX_BYTES:
        raise UnreadablePage(f"{parts.netloc} answered with more than {MAX_BYTES // 2**20} MiB.")
    return body.decode(errors="replace")


def _end(connection: HTTPConnection) -> None:
    """Close a connection. A thread that still reads from it would otherwise wait as long as the server sends."""
    if connection.sock is not None:
        with suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
