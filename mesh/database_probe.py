"""Database probe: whether a PostgreSQL server lets anybody in, and why not, without waiting for long."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass

import asyncpg

# A server that is alive answers within milliseconds; one that is stopped or cut off would never answer.
CONNECT_TIMEOUT_S = 5.0
# Every error of a connection. asyncpg raises InternalClientError if the server has ended the connection but not closed
# it yet, which can happen whenever a server is killed.
CONNECTION_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


@dataclass(frozen=True, slots=True)
class DatabaseTrouble:
    """The reason why a server does not answer, as a predicate: "does not answer within 5 s".

    A silent server takes connections and says nothing. The reason holds nothing of the URL.
    """

    reason: str
    is_silent: bool


async def database_trouble(url: str, patience_s: float = CONNECT_TIMEOUT_S) -> DatabaseTrouble | None:
    """Return why the server at `url` does not answer, or None where it does.

    It connects anew, because a server that is suspended may still answer on connections that exist.
    """
    try:
        async with asyncio.timeout(patience_s):
            connection = await asyncpg.connect(url, timeout=2 * patience_s)
            try:
                await connection.execute("select 1")
            finally:
                connection.terminate()
    except TimeoutError:
        return DatabaseTrouble(f"does not answer within {patience_s:.0f} s", is_silent=True)
    except (*CONNECTION_ERRORS, ValueError) as error:
        return DatabaseTrouble(f"lets nobody in ({reason_of(error)})", is_silent=False)
    return None


def reason_of(error: BaseException) -> str:
    """Return why a database cannot be reached, without anything of its URL."""
    if isinstance(error, socket.gaierror):
        return str(error.strerror)
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    return "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
