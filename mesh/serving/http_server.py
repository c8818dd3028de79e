"""HTTP server inside a process that has its own event loop, signal handlers and log."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import uvicorn

from mesh.config import SettingsError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from starlette.types import ASGIApp


@asynccontextmanager
async def http_server(app: ASGIApp, address: str, setting: str, **options: Any) -> AsyncIterator[None]:
    """Serve `app` at `address` ("host:port") while the context is open. `options` are further ones of uvicorn.

    Raises SettingsError, which names `setting`, if the server cannot listen on the address.
    """
    listener = _listen(address, setting)
    config = uvicorn.Config(
        app,
        loop="none",
        # The lines go to the handlers of this process. The applications write their own access logs.
        log_config=None,
        log_level="warning",
        access_log=False,
        # No code uses the address of the client, so no header has to be trusted.
        proxy_headers=False,
        server_header=False,
        **options,
    )
    server = _Server(config)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await running
        listener.close()


class _Server(uvicorn.Server):
    """HTTP server that leaves the signal handlers of the process alone."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listen(address: str, setting: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), int(port)), family=family)
    except OSError:
        raise SettingsError(f"{setting}: {address} is in use or is not an address of this machine.") from None
