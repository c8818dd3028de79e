"""The database: pooled transactions whose statements do not outlive the call they serve."""

from __future__ import annotations

import asyncio
import math
import random
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import asyncpg

from contracts.errors import DeadlineExceeded, Unavailable
from mesh.database_probe import CONNECT_TIMEOUT_S, CONNECTION_ERRORS, reason_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

T = TypeVar("T")
Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

ACQUIRE_TIMEOUT_S = 5.0
FAREWELL_TIMEOUT_S = 0.1
RELEASE_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 10.0
# The lease of whoever holds locks and says nothing: a process that hangs, or a host that is gone without a word.
SILENCE_TIMEOUT_S = 30.0
MAX_REPEATS = 5
BACKOFF_S = 0.01
MAX_BACKOFF_S = 0.5

# How long a disk counts as full after a statement failed for it.
DISK_MEMORY_S = 60.0
# The disk of the server takes nothing more.
_NO_ROOM = (asyncpg.DiskFullError, asyncpg.PostgresIOError)
# The server is going away, is not there yet, or has no connection left.
_UNAVAILABLE = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    *_NO_ROOM,
    # The server has ended the connection but not closed it yet.
    asyncpg.InternalClientError,
)
_TOO_SLOW = (asyncpg.QueryCanceledError, asyncpg.LockNotAvailableError)
_CONFLICTS = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
_LIMIT_STATEMENTS = "select set_config('statement_timeout', $1, $3), set_config('lock_timeout', $2, $3)"


class DatabaseUnavailable(Unavailable):
    """The database cannot be reached now; whether work that was under way is committed is then unknown.

    Callers learn that the service is unavailable; the reason is for the log.
    """

    def __init__(self, reason: str) -> None:
        super().__init__("The service's database is not reachable now.")
        self.reason_for_log = reason

    def __str__(self) -> str:
        return self.reason_for_log


class DatabaseTooSlow(DeadlineExceeded):
    """The database did not finish, or did not grant a lock, in the time that the call had left."""


class Database:
    """A pool of connections to one PostgreSQL database, in UTC.

    `remaining_s` says how much time the current call has left, None for no limit. A call waits for a free connection no
    longer than half of that (5 s without a limit); no statement runs longer than what then is left, and none waits for
    a lock longer than half of it; what takes longer raises DatabaseTooSlow once it leaves the connection's context,
    inside of which it is asyncpg's QueryCanceledError or LockNotAvailableError. A transaction in which nothing is said
    for 30 s is rolled back by the server, and its connection is lost. `rng` spreads the repeats of `run`.
    `timestamptz` comes as an aware datetime and `tstzrange` as an asyncpg.Range of two.
    """

    def __init__(self, pool: Pool, probes: Pool, remaining_s: Callable[[], float | None], rng: random.Random) -> None:
        self._pool = pool
        self._probes = probes
        self._remaining_s = remaining_s
        self._rng = rng
        self._trouble = ""
        self._no_room_at = -math.inf

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        max_connections: int = 10,
        remaining_s: Callable[[], float | None] = lambda: None,
        rng: random.Random | None = None,
    ) -> Database:
        """Open the pool; raise DatabaseUnavailable when the server lets nobody in, ValueError for a bad URL."""
        pool = _pool(url, min_size=1, max_size=max_connections)
        probes = _pool(url, min_size=0, max_size=1)
        try:
            await pool
            await probes  # connects to nothing yet
        except TimeoutError as error:
            raise DatabaseUnavailable(f"the database does not answer within {CONNECT_TIMEOUT_S:g} s") from error
        except CONNECTION_ERRORS as error:
            raise DatabaseUnavailable(f"the database cannot be reached: {_reason(error)}") from error
        return cls(pool, probes, remaining_s, rng or random.SystemRandom())

    async def close(self) -> None:
        """Close the pool once its connections are given back, after 10 s at the latest."""
        for pool in (self._pool, self._probes):
            try:
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await pool.close()
            except TimeoutError:
                pool.terminate()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Lend a connection in a READ COMMITTED transaction: committed at the end, rolled back when anything is raised.

        Raises DatabaseUnavailable when the server or a free connection is missing.
        """
        async with self._borrowed() as connection:
            transaction = connection.transaction(isolation="read_committed")
            try:
                await transaction.start()
                await self._limit(connection, for_transaction=True)
                yield connection
            except asyncio.CancelledError:
                await self._abandon(connection, transaction.rollback)
                raise
            except BaseException:
                await transaction.rollback()
                raise
            await transaction.commit()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection without a transaction, for reads; raise DatabaseUnavailable as `transaction` does."""
        async with self._borrowed() as connection:
            try:
                await self._limit(connection, for_transaction=False)
                yield connection
            except asyncio.CancelledError:
                await self._abandon(connection, lambda: connection.execute("select 1"))
                raise

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run `work` in a transaction of its own, again when it lost to a concurrent one, and return what it returns.

        A serialization failure (40001) or a deadlock (40P01) is repeated up to five times with full jitter, then
        raised. `work` must do nothing but what the rollback takes back.
        """
        for repeat in range(MAX_REPEATS):
            try:
                async with self.transaction() as connection:
                    return await work(connection)
            except _CONFLICTS:
                await asyncio.sleep(self._rng.uniform(0, min(MAX_BACKOFF_S, BACKOFF_S * 2**repeat)))
        async with self.transaction() as connection:
            return await work(connection)

    async def is_reachable(self, timeout_s: float) -> bool:
        """Whether the server answers `select 1` in time, on a connection of its own: a busy pool is not an outage."""
        try:
            async with asyncio.timeout(timeout_s):
                reachable = bool(await self._ask("select 1"))
        except TimeoutError:
            self._trouble = f"its database does not answer within {timeout_s:g} s"
            return False
        except CONNECTION_ERRORS as error:
            self._trouble = f"its database lets nobody in ({reason_of(error)})"
            return False
        self._trouble = ""
        return reachable

    def troubles(self) -> list[str]:
        """Return the last result of `is_reachable`, and whether the server's disk was full within the last minute."""
        no_room = time.monotonic() - self._no_room_at < DISK_MEMORY_S
        return [*([self._trouble] if self._trouble else []), *(["the disk of its database is full"] if no_room else [])]

    async def _ask(self, question: str, *values: object) -> object:
        """Ask the server something beside the pool."""
        connection = await self._probes.acquire()
        try:
            return await connection.fetchval(question, *values)
        except BaseException:
            connection.terminate()  # giving it back in order would wait for a server that does not answer
            raise
        finally:
            await self._probes.release(connection)

    async def _abandon(self, connection: Connection, farewell: Callable[[], Awaitable[object]]) -> None:
        """Let go of the connection of a cancelled call, and see to it that no statement goes on.

        asyncpg asks the server to cancel, but a request that overtakes its own statement is lost: `farewell` then waits
        for that statement, and the whole connection has to go.
        """
        if _is_lost(connection):
            return
        pid = connection.get_server_pid()
        try:
            async with asyncio.timeout(FAREWELL_TIMEOUT_S):
                await farewell()
        except CONNECTION_ERRORS:
            if not _is_lost(connection):
                connection.terminate()
            with suppress(*CONNECTION_ERRORS):
                async with asyncio.timeout(FAREWELL_TIMEOUT_S):
                    await self._ask("select pg_terminate_backend($1)", pid)

    @asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[Connection]:
        connection = await self._acquire()
        try:
            yield connection
        except _TOO_SLOW as error:
            raise DatabaseTooSlow from error
        except _NO_ROOM as error:
            self._no_room_at = time.monotonic()
            raise DatabaseUnavailable(f"the disk of the database is full: {_reason(error)}") from error
        except _UNAVAILABLE as error:
            raise DatabaseUnavailable(f"the connection to the database is lost: {_reason(error)}") from error
        except (OSError, asyncpg.InterfaceError) as error:
            # Such an error is the database's only if it took the connection with it.
            if not _is_lost(connection):
                raise
            raise DatabaseUnavailable(f"the connection to the database is lost: {_reason(error)}") from error
        finally:
            # Whatever becomes of the connection, what the call did with it stands: asyncpg closes one that fails here.
            with suppress(*CONNECTION_ERRORS):
                await self._pool.release(connection, timeout=RELEASE_TIMEOUT_S)

    async def _acquire(self) -> Connection:
        remaining_s = self._remaining_s()
        patience_s = ACQUIRE_TIMEOUT_S if remaining_s is None else max(remaining_s / 2, 0.001)
        try:
            return await self._pool.acquire(timeout=patience_s)
        except TimeoutError as error:
            raise DatabaseUnavailable(f"no connection to the database was free for {patience_s:.3g} s") from error
        except CONNECTION_ERRORS as error:
            raise DatabaseUnavailable(f"the database cannot be reached: {_reason(error)}") from error

    async def _limit(self, connection: Connection, *, for_transaction: bool) -> None:
        """Bound the statements to come; outside a transaction the pool takes the bound back with the connection."""
        remaining_s = self._remaining_s()
        if remaining_s is not None:
            # 0 would mean no limit at all, also for half of it.
            remaining_ms = max(2, int(remaining_s * 1000))
            await connection.execute(_LIMIT_STATEMENTS, str(remaining_ms), str(remaining_ms // 2), for_transaction)


def _pool(url: str, *, min_size: int, max_size: int) -> Pool:
    return asyncpg.create_pool(
        url,
        min_size=min_size,
        max_size=max_size,
        timeout=CONNECT_TIMEOUT_S,
        server_settings={
            "timezone": "UTC",
            "application_name": "solo60",
            "idle_in_transaction_session_timeout": f"{SILENCE_TIMEOUT_S:.0f}s",
        },
    )


def _is_lost(connection: Connection) -> bool:
    """Whether the server is gone; the pool takes back at once what is lost while no statement runs."""
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        return True


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
