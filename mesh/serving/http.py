"""HTTP listener of a service, beside its gRPC server, for senders that speak no gRPC, such as the card processor."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import structlog
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from mesh.config import SettingsError
from mesh.serving.http_requests import GuardedApp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

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
    listener = _listen(address)
    server = _Server(_config(app, grace_s))
    running = asyncio.create_task(server.serve(sockets=[listener]))
    _log.info("serving http", address=address)
    try:
        yield
    finally:
        server.should_exit = True
        await running
        listener.close()


def _config(app: ASGIApp, grace_s: float) -> uvicorn.Config:
    return uvicorn.Config(
        GuardedApp(app),
        http=_Protocol,
        loop="none",
        ws="none",
        lifespan="off",
        # The lines go to the handlers of this process. `GuardedApp` writes the access log.
        log_config=None,
        log_level="warning",
        access_log=False,
        # No code uses the address of the client, so no header has to be trusted.
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=max(1, round(grace_s)),
    )


class _Server(uvicorn.Server):
    """HTTP server that leaves the signal handlers of the process alone."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Protocol(H11Protocol):
    """Connection that is closed if its first request does not arrive in time. Each connection serves one request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        super().connection_made(transport)
        self.loop.call_later(HEADER_TIMEOUT_S, self._close_without_request)

    def _close_without_request(self) -> None:
        if self.cycle is None:
            self.transport.close()


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), int(port)), family=family)
    except OSError:
        raise SettingsError(f"HTTP_ADDRESS: {address} is in use or is not an address of this machine.") from None
