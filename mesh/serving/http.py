"""HTTP listener of a service, beside its gRPC server, for senders that speak no gRPC, such as the card processor."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog
from uvicorn.protocols.http.h11_impl import H11Protocol

from mesh.serving.http_requests import GuardedApp
from mesh.serving.http_server import http_server

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp

# Connections beyond this number are answered with 503, so that open connections cannot exhaust the process.
MAX_CONNECTIONS = 200
# A connection that sends no complete header within this time is closed.
HEADER_TIMEOUT_S = 10.0

_log = structlog.stdlib.get_logger("solo60.http")


@asynccontextmanager
async def serve_http(app: ASGIApp, address: str, grace_s: float) -> AsyncIterator[None]:
    """Serve `app` over HTTP/1.1 at `address` ("host:port") while the context is open.

    At the end, the port is closed at once, and running requests have `grace_s` seconds to finish. Raises SettingsError
    if the server cannot listen on the address.
    """
    server = http_server(
        GuardedApp(app),
        address,
        "HTTP_ADDRESS",
        http=_Protocol,
        ws="none",
        lifespan="off",
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=max(1, round(grace_s)),
    )
    async with server:
        _log.info("serving http", address=address)
        yield


class _Protocol(H11Protocol):
    """Connection that is closed if its first request does not arrive in time. Each connection serves one request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        super().connection_made(transport)
        self.loop.call_later(HEADER_TIMEOUT_S, self._close_without_request)

    def _close_without_request(self) -> None:
        if self.cycle is None:
            self.transport.close()
