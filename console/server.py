"""HTTP server of the console."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from console.app import app_of
from console.connections import LimitedConnection
from console.state import open_console
from mesh.serving.http_server import http_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

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
        server = http_server(
            app_of(console),
            address,
            "CONSOLE_ADDRESS",
            http=LimitedConnection,
            lifespan="on",
            # Messages are small, and compression would hold its state in memory for each open page.
            ws_per_message_deflate=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=STOP_TIMEOUT_S,
        )
        async with server:
            _log.info("serving", address=address, pid=os.getpid())
            yield
