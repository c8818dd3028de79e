"""HTTP server of the console."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import structlog
import uvicorn

from console.app import app_of
from console.connections import LimitedConnection
from console.state import open_console
from mesh.config import SettingsError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from starlette.types import ASGIApp

    from mesh.config import Settings

MAX_CONNECTIONS = 1_000
STOP_TIMEOUT_S = 1

_log = structlog.stdlib.get_logger("solo60.console")


@asynccontextmanager
async def serve_console(settings: Settings) -> AsyncIterator[None]:
    """Serve the console at CONSOLE_ADDRESS while the context is open.

    Raises SettingsError if the address is not usable, or if the console lacks a key or a keyring.
    """
    address = settings.console_listen_address
    async with open_console(settings) as console:
        config = _config(app_of(console), address)
        listener = _listen(config, address)
        server = _Server(config)
        running = asyncio.create_task(server.serve(sockets=[listener]))
        _log.info("serving", address=address, pid=os.getpid())
        try:
            yield
        finally:
            server.should_exit = True
            await running


def _config(app: ASGIApp, address: str) -> uvicorn.Config:
    host, _, port = address.rpartition(":")
    return uvicorn.Config(
        app,
        host=host.strip("[]"),
        port=int(port),
        loop="none",
        http=LimitedConnection,
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        # Messages are small, and compression would hold its state in memory for each open page.
        ws_per_message_deflate=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=STOP_TIMEOUT_S,
    )


def _listen(config: uvicorn.Config, address: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in (config.host or "") else socket.AF_INET
    try:
        return socket.create_server((config.host, config.port), family=family)
    except OSError:
        raise SettingsError(f"CONSOLE_ADDRESS: {address} is in use or is not an address of this machine.") from None


class _Server(uvicorn.Server):
    """HTTP server that leaves the signal handlers of the process alone."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
