"""Listener for PostgreSQL notifications that detects and replaces a lost connection.

PostgreSQL does not store notifications for absent listeners. So the caller is notified of each gap, in which some may
be missing.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
import structlog

from mesh.data.database_probe import CONNECT_TIMEOUT_S, CONNECTION_ERRORS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    Connection = asyncpg.Connection[Any]

# A query at this interval detects a connection without a peer: the server or the network has disappeared silently.
CHECK_INTERVAL_S = 10.0
CHECK_TIMEOUT_S = 5.0
RECONNECT_PAUSE_S = 0.5

_log = structlog.stdlib.get_logger("solo60.notifications")


@asynccontextmanager
async def listening(
    url: str, channel: str, on_notification: Callable[[str], None], on_gap: Callable[[], None]
) -> AsyncIterator[None]:
    """Call `on_notification` with the payload of each notification on `channel` while the context is open.

    `on_gap` is called each time that listening begins, including the first time. The listener opens its own connection
    to the database at `url`, outside of any pool.
    """
    task = asyncio.create_task(_listen_forever(url, channel, on_notification, on_gap))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _listen_forever(
    url: str, channel: str, on_notification: Callable[[str], None], on_gap: Callable[[], None]
) -> None:
    while True:
        try:
            await _listen(url, channel, on_notification, on_gap)
        except CONNECTION_ERRORS as error:
            _log.warning("not listening", channel=channel, error=type(error).__name__)
        await asyncio.sleep(RECONNECT_PAUSE_S)


async def _listen(url: str, channel: str, on_notification: Callable[[str], None], on_gap: Callable[[], None]) -> None:
    """Listen until the connection is lost."""
    connection: Connection = await asyncpg.connect(
        url, timeout=CONNECT_TIMEOUT_S, server_settings={"application_name": f"solo60 listening to {channel}"}
    )
    lost = asyncio.Event()
    try:
        connection.add_termination_listener(lambda _connection: lost.set())
        await connection.add_listener(
            channel, lambda _connection, _pid, _channel, payload: on_notification(str(payload))
        )
        on_gap()
        await _wait_until_lost(connection, lost)
    finally:
        connection.terminate()


async def _wait_until_lost(connection: Connection, lost: asyncio.Event) -> None:
    while not lost.is_set():
        try:
            async with asyncio.timeout(CHECK_INTERVAL_S):
                await lost.wait()
        except TimeoutError:
            await connection.execute("select", timeout=CHECK_TIMEOUT_S)
