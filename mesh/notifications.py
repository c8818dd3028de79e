"""Notifications: what PostgreSQL announces on a channel is heard, and a lost connection is noticed and replaced.

PostgreSQL keeps nothing for those who do not listen, so after each gap the listener is told that it may have missed
something.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
import structlog

from mesh.database_probe import CONNECT_TIMEOUT_S, CONNECTION_ERRORS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    Connection = asyncpg.Connection[Any]

# A connection whose other end vanished without a word is found out when it is asked something.
ASK_INTERVAL_S = 10.0
ASK_TIMEOUT_S = 5.0
RECONNECT_PAUSE_S = 0.5

_log = structlog.stdlib.get_logger("solo60.notifications")


@asynccontextmanager
async def listening(
    url: str, channel: str, hear: Callable[[str], None], missed: Callable[[], None]
) -> AsyncIterator[None]:
    """Call `hear` with the payload of each notification on `channel` for the time of the context.

    `missed` is called whenever listening begins, the first time included. It takes one connection of its own to the
    database at `url`, apart from every pool.
    """
    task = asyncio.create_task(_listen_for_ever(url, channel, hear, missed))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _listen_for_ever(url: str, channel: str, hear: Callable[[str], None], missed: Callable[[], None]) -> None:
    while True:
        try:
            await _listen(url, channel, hear, missed)
        except CONNECTION_ERRORS as error:
            _log.warning("not listening", channel=channel, error=type(error).__name__)
        await asyncio.sleep(RECONNECT_PAUSE_S)


async def _listen(url: str, channel: str, hear: Callable[[str], None], missed: Callable[[], None]) -> None:
    """Listen until the connection is lost."""
    connection: Connection = await asyncpg.connect(
        url, timeout=CONNECT_TIMEOUT_S, server_settings={"application_name": f"solo60 listening to {channel}"}
    )
    lost = asyncio.Event()
    try:
        connection.add_termination_listener(lambda _connection: lost.set())
        await connection.add_listener(channel, lambda _connection, _pid, _channel, payload: hear(str(payload)))
        missed()
        await _wait_until_lost(connection, lost)
    finally:
        connection.terminate()


async def _wait_until_lost(connection: Connection, lost: asyncio.Event) -> None:
    while not lost.is_set():
        try:
            async with asyncio.timeout(ASK_INTERVAL_S):
                await lost.wait()
        except TimeoutError:
            await connection.execute("select", timeout=ASK_TIMEOUT_S)
