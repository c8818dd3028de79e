"""Probe of a PostgreSQL server with a short timeout, which returns the reason for a failure."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass

import asyncpg

# A healthy server answers within milliseconds; a suspended or unreachable one would never answer.
CONNECT_TIMEOUT_S = 5.0
# Every error of a connection. asyncpg raises InternalClientError if the server has ended the connection but not closed
# it yet, which can happen whenever a server is killed.
CONNECTION_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


@dataclass(frozen=True, slots=True)
class DatabaseTrouble:
    """Reason why a server does not answer, as a predicate such as "does not answer within 5 s".

    A silent server accepts connections but does not respond. The reason contains no part of the URL.
    """

    reason: str
    is_silent: bool


async def database_trouble(url: str, timeout_s: float = CONNECT_TIMEOUT_S) -> DatabaseTrouble | None:
    """Return the reason why the server at `url` does not answer, or None if it does.

    The probe opens a new connection, because a suspended server may still answer on existing ones.
    """
    try:
        async with asyncio.timeout(timeout_s):
            connection = await asyncpg.connect(url, timeout=2 * timeout_s)
            try:
                await connection.execute("select 1")
            finally:
                connection.terminate()
    except TimeoutError:
        return DatabaseTrouble(f"does not answer within {timeout_s:.0f} s", is_silent=True)
    except (*CONNECTION_ERRORS, ValueError) as error:
        return DatabaseTrouble(f"cannot be reached ({reason_of(error)})", is_silent=False)
    return None


def reason_of(error: BaseException) -> str:
    """Return the reason why a database cannot be reached, without any part of its URL."""
    if isinstance(error, socket.gaierror):
        return str(error.strerror)
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    return "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
