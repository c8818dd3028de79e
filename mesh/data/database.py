"""Database pool that ends each statement with the call that it serves."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, TypeAlias

import asyncpg

from contracts.errors import DeadlineExceeded, Unavailable
from mesh.data.database_probe import CONNECT_TIMEOUT_S, CONNECTION_ERRORS, reason_of
from mesh.data.time_limits import SessionTimeouts, limits_ms

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

ACQUIRE_TIMEOUT_S = 5.0
LAST_QUERY_TIMEOUT_S = 0.1
RELEASE_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 10.0
# Limit for a session that is idle in a transaction and may hold locks: a hanging process or a host that disappeared.
IDLE_IN_TRANSACTION_TIMEOUT_S = 30.0

# Time that the disk is reported as full after a statement failed because of it.
DISK_FULL_REPORT_S = 60.0
# Errors of a full or failing disk at the server.
_DISK_ERRORS = (asyncpg.DiskFullError, asyncpg.PostgresIOError)
# The server is shutting down, is not ready yet, or has no free connection.
_UNAVAILABLE_ERRORS = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    *_DISK_ERRORS,
    # asyncpg raises this after the server has announced the end of the connection, until the connection is closed.
    asyncpg.InternalClientError,
)
_TIMEOUT_ERRORS = (asyncpg.QueryCanceledError, asyncpg.LockNotAvailableError)
# Several statements without parameters are one message to the server and one answer.
_BEGIN = "begin isolation level read committed"
_LIMIT_TRANSACTION = "; set local statement_timeout = {}; set local lock_timeout = {}"
_LIMIT_SESSION = "set statement_timeout = {}; set lock_timeout = {}"


class DatabaseUnavailable(Unavailable):
    """The database is not reachable, and unfinished work may or may not have been committed.

    The message for callers contains no reason, because the reason is for the log.
    """

    def __init__(self, reason: str) -> None:
        super().__init__("The service's database is not reachable now.")
        self.reason_for_log = reason

    def __str__(self) -> str:
        return self.reason_for_log


class DatabaseTooSlow(DeadlineExceeded):
    """The database did not finish, or did not grant a lock, in the time that the call had left."""


class Database:
    """Pool of connections to one PostgreSQL database, in UTC.

    `remaining_s` returns the time that the current call has left, or None for no limit. A call waits for a free
    connection at most half of that time, or 5 s without a limit. A statement runs at most for the time that is left
    then, and waits for a lock at most half of it. Outside a transaction, both limits may be a quarter lower. A slower
    statement raises asyncpg's QueryCanceledError or LockNotAvailableError inside the connection's context, and
    DatabaseTooSlow outside of it. The server rolls back a transaction that is idle for 30 s and closes its connection.
    `timestamptz` is returned as an aware datetime, and `tstzrange` as an asyncpg.Range of two.

    Releasing a connection does not reset its session, so a statement must not change it: no `set` without `local`, no
    `listen`, no advisory lock and no cursor outside of a transaction.
    """

    def __init__(
        self, pool: Pool, probes: Pool, timeouts: SessionTimeouts, remaining_s: Callable[[], float | None]
    ) -> None:
        self._pool = pool
        self._probes = probes
        self._timeouts = timeouts
        self._remaining_s = remaining_s
        self._trouble = ""
        self._disk_full_at = -math.inf

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        max_connections: int = 10,
        remaining_s: Callable[[], float | None] = lambda: None,
    ) -> Database:
        """Open the pool; raise DatabaseUnavailable if the server cannot be reached, ValueError for a bad URL."""
        timeouts = SessionTimeouts()
        pool = _pool(url, timeouts, min_size=1, max_size=max_connections)
        probes = _pool(url, timeouts, min_size=0, max_size=1)
        try:
            await pool
            await probes  # opens no connection yet
        except TimeoutError as error:
            raise DatabaseUnavailable(f"the database does not answer within {CONNECT_TIMEOUT_S:g} s.") from error
        except CONNECTION_ERRORS as error:
            raise DatabaseUnavailable(f"the database cannot be reached: {_reason(error)}.") from error
        return cls(pool, probes, timeouts, remaining_s)

    async def close(self) -> None:
        """Close the pool once its connections are released, after 10 s at the latest."""
        for pool in (self._pool, self._probes):
            try:
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await pool.close()
            except TimeoutError:
                pool.terminate()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Yield a connection in a READ COMMITTED transaction, committed at the end or rolled back on any exception.

        Raises DatabaseUnavailable if the server is not reachable or no connection is free. Raises RuntimeError if a
        statement failed and its exception was caught inside the block, because nothing can be committed then.
        """
        async with self._pooled_connection() as connection:
            try:
                await connection.execute(_BEGIN + self._limits_of_transaction())
                yield connection
            except asyncio.CancelledError:
                await self._discard(connection, lambda: connection.execute("rollback"))
                raise
            except BaseException:
                await connection.execute("rollback")
                raise
            # asyncpg's own `commit` ignores that PostgreSQL answers a commit after a failed statement with a rollback.
            if await connection.execute("commit") == "ROLLBACK":
                raise RuntimeError("a statement has failed, so the transaction was rolled back")

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Yield a connection without a transaction, for reads; raise DatabaseUnavailable as `transaction` does."""
        async with self._pooled_connection() as connection:
            try:
                await self._limit_session(connection)
                yield connection
            except asyncio.CancelledError:
                await self._discard(connection, lambda: connection.execute("select 1"))
                raise

    async def is_reachable(self, timeout_s: float) -> bool:
        """Return whether the server answers `select 1` in time, outside the main pool: a busy pool is not an outage."""
        try:
            async with asyncio.timeout(timeout_s):
                reachable = bool(await self._query_outside_pool("select 1"))
        except TimeoutError:
            self._trouble = f"its database does not answer within {timeout_s:g} s"
            return False
        except CONNECTION_ERRORS as error:
            self._trouble = f"its database cannot be reached ({reason_of(error)})"
            return False
        self._trouble = ""
        return reachable

    def troubles(self) -> list[str]:
        """Return the last failure of `is_reachable`, and a sentence if the disk was full within the last minute."""
        is_disk_full = time.monotonic() - self._disk_full_at < DISK_FULL_REPORT_S
        return [
            *([self._trouble] if self._trouble else []),
            *(["the disk of its database is full"] if is_disk_full else []),
        ]

    async def _query_outside_pool(self, query: str, *values: object) -> object:
        """Run a query on a connection outside the main pool."""
        connection = await self._probes.acquire()
        try:
            return await connection.fetchval(query, *values)
        except BaseException:
            connection.terminate()  # an orderly release would wait for a server that does not answer
            raise
        finally:
            await self._probes.release(connection)

    async def _discard(self, connection: Connection, last_query: Callable[[], Awaitable[object]]) -> None:
        """Release the connection of a cancelled call, and make sure that its statement ends.

        asyncpg asks the server to cancel the statement. If that request arrives before the statement, it has no effect.
        `last_query` then waits for the statement. If `last_query` fails or times out, the connection and its server
        process are terminated.
        """
        if _is_lost(connection):
            return
        pid = connection.get_server_pid()
        try:
            async with asyncio.timeout(LAST_QUERY_TIMEOUT_S):
                await last_query()
        except CONNECTION_ERRORS:
            if not _is_lost(connection):
                connection.terminate()
            with suppress(*CONNECTION_ERRORS):
                async with asyncio.timeout(LAST_QUERY_TIMEOUT_S):
                    await self._query_outside_pool("select pg_terminate_backend($1)", pid)

    @asynccontextmanager
    async def _pooled_connection(self) -> AsyncIterator[Connection]:
        connection = await self._acquire()
        try:
            yield connection
        except _TIMEOUT_ERRORS as error:
            raise DatabaseTooSlow from error
        except _DISK_ERRORS as error:
            self._disk_full_at = time.monotonic()
            raise DatabaseUnavailable(f"the disk of the database is full: {_reason(error)}.") from error
        except _UNAVAILABLE_ERRORS as error:
            raise DatabaseUnavailable(f"the connection to the database is lost: {_reason(error)}.") from error
        except (OSError, asyncpg.InterfaceError) as error:
            # Other errors may come from the caller's code: only a lost connection shows a failure of the database.
            if not _is_lost(connection):
                raise
            raise DatabaseUnavailable(f"the connection to the database is lost: {_reason(error)}.") from error
        finally:
            # A failed release must not fail a finished call. asyncpg closes a connection that fails here.
            with suppress(*CONNECTION_ERRORS):
                await self._pool.release(connection, timeout=RELEASE_TIMEOUT_S)

    async def _acquire(self) -> Connection:
        remaining_s = self._remaining_s()
        timeout_s = ACQUIRE_TIMEOUT_S if remaining_s is None else max(remaining_s / 2, 0.001)
        try:
            return await self._pool.acquire(timeout=timeout_s)
        except TimeoutError as error:
            raise DatabaseUnavailable(f"no connection to the database was free for {timeout_s:.3g} s.") from error
        except CONNECTION_ERRORS as error:
            raise DatabaseUnavailable(f"the database cannot be reached: {_reason(error)}.") from error

    def _limits_of_transaction(self) -> str:
        """Return statements that limit the time of the following statements until the transaction ends.

        A session may still have the limits of an earlier call, so a transaction without a limit also sets its own.
        """
        return _LIMIT_TRANSACTION.format(*limits_ms(self._remaining_s()))

    async def _limit_session(self, connection: Connection) -> None:
        """Limit the time of the following statements, unless the session's limits already fit the remaining time."""
        statement_ms, lock_ms = limits_ms(self._remaining_s())
        if self._timeouts.fit(connection, statement_ms):
            return
        self._timeouts.forget(connection)
        await connection.execute(_LIMIT_SESSION.format(statement_ms, lock_ms))
        self._timeouts.record(connection, statement_ms)


async def _keep_session(_connection: object) -> None:
    """Reset nothing when a connection is released: no statement changes a session, except the limits."""


def _pool(url: str, timeouts: SessionTimeouts, *, min_size: int, max_size: int) -> Pool:
    return asyncpg.create_pool(
        url,
        min_size=min_size,
        max_size=max_size,
        timeout=CONNECT_TIMEOUT_S,
        init=timeouts.record_new,
        reset=_keep_session,
        server_settings={
            "timezone": "UTC",
            "application_name": "solo60",
            "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_TIMEOUT_S:.0f}s",
        },
    )


def _is_lost(connection: Connection) -> bool:
    """Return whether the connection is lost. If it was idle, the pool has it back and asyncpg raises InterfaceError."""
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        return True


def _reason(error: BaseException) -> str:
    return str(error).rstrip(".") or type(error).__name__
