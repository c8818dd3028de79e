"""Database statements, which end with their call, and transactions, which are retried after a conflict."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import asyncpg
import psutil
import pytest

import mesh.data.database
from mesh.data.conflicts import retried_on_conflict
from mesh.data.database import Database, DatabaseTooSlow, DatabaseUnavailable
from tests.support.postgres import superuser_url_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LIMITS = "select current_setting('statement_timeout'), current_setting('lock_timeout')"


class RemainingTime:
    """Remaining time of the current call, set by the test."""

    seconds: float | None = None

    def __call__(self) -> float | None:
        """Return the remaining seconds."""
        return self.seconds


@pytest.fixture
def remaining() -> RemainingTime:
    """Make a remaining time without a limit."""
    return RemainingTime()


@pytest.fixture
async def database(empty_database_url: str, remaining: RemainingTime) -> AsyncIterator[Database]:
    """Connect to a database with one table that holds two numbers."""
    database = await Database.connect(
        empty_database_url,
        max_connections=4,
        remaining_s=remaining,
    )
    async with database.connection() as connection:
        await connection.execute("create table number (id int primary key, value int not null)")
        await connection.execute("insert into number values (1, 0), (2, 0)")
    yield database
    await database.close()


async def value(database: Database, number: int = 1) -> object:
    """Read one of the two numbers."""
    async with database.connection() as connection:
        return await connection.fetchval("select value from number where id = $1", number)


async def test_a_transaction_is_all_or_nothing(database: Database) -> None:
    """An exception inside a transaction rolls it back. A transaction that ends normally is committed."""
    with pytest.raises(ZeroDivisionError):  # noqa: PT012  (it is raised inside the transaction)
        async with database.transaction() as connection:
            await connection.execute("update number set value = 1")
            raise ZeroDivisionError
    assert await value(database) == 0

    async with database.transaction() as connection:
        await connection.execute("update number set value = 2")
    assert await value(database) == 2


async def test_a_transaction_with_a_failed_statement_is_not_committed_silently(database: Database) -> None:
    """If the exception of a statement is caught inside the transaction, its end raises, because nothing is stored."""
    with pytest.raises(RuntimeError, match="a statement has failed"):  # noqa: PT012 - raised at the end of the block
        async with database.transaction() as connection:
            await connection.execute("update number set value = 1")
            with suppress(asyncpg.DivisionByZeroError):
                await connection.execute("select 1 / 0")

    assert await value(database) == 0


async def test_a_transaction_is_read_committed_in_utc(database: Database) -> None:
    """Transactions are read committed. Times are timezone-aware and in UTC, also in ranges."""
    async with database.transaction() as connection:
        assert await connection.fetchval("show transaction_isolation") == "read committed"
        assert await connection.fetchval("show timezone") == "UTC"
        period = asyncpg.Range(datetime(2030, 1, 1, 9, tzinfo=UTC), datetime(2030, 1, 1, 10, tzinfo=UTC))
        assert await connection.fetchval("select $1::tstzrange", period) == period
        assert await connection.fetchval("select '2030-01-01 09:00'::timestamptz") == period.lower


@pytest.mark.parametrize("name", ["transaction", "connection"])
async def test_statements_are_bounded_by_the_remaining_time_of_the_call(
    database: Database, remaining: RemainingTime, name: str
) -> None:
    """A call's `statement_timeout` is its remaining time and its `lock_timeout` half of that.

    The next user of the connection has neither limit.
    """
    open_connection = database.transaction if name == "transaction" else database.connection
    for _ in range(4):
        remaining.seconds = 1.5
        async with open_connection() as connection:
            assert tuple(await connection.fetchrow(LIMITS) or ()) == ("1500ms", "750ms")
        remaining.seconds = None
        async with open_connection() as connection:
            assert tuple(await connection.fetchrow(LIMITS) or ()) == ("0", "0")


async def test_a_call_without_time_left_is_still_limited(database: Database, remaining: RemainingTime) -> None:
    """A call without time left raises DatabaseTooSlow.

    Its limit is 1 ms, because 0 would disable the limit in PostgreSQL.
    """
    remaining.seconds = -1.0

    with pytest.raises(DatabaseTooSlow):
        async with database.connection() as connection:
            await connection.execute("select pg_sleep(60)")


async def test_a_read_reuses_the_limits_of_an_earlier_call(database: Database, remaining: RemainingTime) -> None:
    """A read leaves limits that are up to a quarter lower than its remaining time, and never has higher limits."""

    async def limits_with(seconds: float) -> tuple[str, ...]:
        remaining.seconds = seconds
        async with database.connection() as connection:
            return tuple(await connection.fetchrow(LIMITS) or ())

    assert await limits_with(1.5) == ("1500ms", "750ms")
    assert await limits_with(2.0) == ("1500ms", "750ms")
    assert await limits_with(2.1) == ("2100ms", "1050ms")
    assert await limits_with(2.0) == ("2s", "1s")


async def test_an_interrupted_limit_is_set_again(database: Database, remaining: RemainingTime) -> None:
    """If a call is cancelled while it sets its limits, the next user of the connection sets its own."""
    remaining.seconds = 100.0
    async with database.connection() as connection:
        pid = connection.get_server_pid()

    async def read() -> None:
        async with database.connection():
            pass

    remaining.seconds = 1.5
    psutil.Process(pid).suspend()
    reading = asyncio.create_task(read())
    await asyncio.sleep(0)  # it has sent the limits
    reading.cancel()
    psutil.Process(pid).resume()
    with pytest.raises(asyncio.CancelledError):
        await reading

    remaining.seconds = 100.0
    async with database.connection() as connection:
        assert connection.get_server_pid() == pid
        assert tuple(await connection.fetchrow(LIMITS) or ()) == ("100s", "50s")


async def test_releasing_a_connection_does_not_wait_for_the_server(database: Database) -> None:
    """A connection is released without an answer from the server, so the release cannot delay or fail a call."""
    async with asyncio.timeout(5):
        async with database.connection() as connection:
            pid = connection.get_server_pid()
            psutil.Process(pid).suspend()
    psutil.Process(pid).resume()

    async with database.connection() as connection:
        assert connection.get_server_pid() == pid


async def test_a_connection_lost_during_its_release_does_not_fail_the_call(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a connection is lost during its release, its changes persist and the next call gets another connection.

    Only a release that rolls back waits for the server.
    """
    monkeypatch.setattr(mesh.data.database, "RELEASE_TIMEOUT_S", 0.1)
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)  # asyncpg reports the rollback
    async with database.connection() as connection:
        pid = connection.get_server_pid()
        await connection.execute("update number set value = 1")
        await connection.execute("begin")
        psutil.Process(pid).suspend()
    psutil.Process(pid).resume()

    async with database.connection() as connection:
        assert connection.get_server_pid() != pid
    assert await value(database) == 1


async def test_a_slow_statement_ends_with_its_call(database: Database, remaining: RemainingTime) -> None:
    """The server ends a statement at the deadline of its call, and the connection serves the next call."""
    remaining.seconds = 0.1
    with pytest.raises(DatabaseTooSlow):
        async with database.transaction() as connection:
            await connection.execute("select pg_sleep(60)")
    remaining.seconds = None
    assert await value(database) == 0


async def test_waiting_for_a_lock_is_limited(database: Database, remaining: RemainingTime) -> None:
    """A call that waits too long for a row lock raises DatabaseTooSlow, because of the lock limit.

    The lock limit ends the wait while the call still has time to answer. The statement limit would use up that time.
    """
    async with database.connection(), database.connection():
        pass  # Connecting could take longer than the call may.
    async with database.transaction() as holder:
        await holder.execute("update number set value = 1 where id = 1")
        remaining.seconds = 1.0
        with pytest.raises(DatabaseTooSlow) as too_slow:
            async with database.transaction() as connection:
                await connection.execute("update number set value = 2 where id = 1")
    assert isinstance(too_slow.value.__cause__, asyncpg.LockNotAvailableError)


@pytest.mark.parametrize("name", ["transaction", "connection"])
async def test_cancelling_a_call_ends_its_statement(database: Database, name: str) -> None:
    """Cancelling a call ends its statement, rolls back its changes and loses no connection.

    The cancellation comes while the statement is being sent, because a cancel request can overtake the statement. The
    statement outlasts the wait for its end.
    """
    started = asyncio.Event()
    open_connection = database.transaction if name == "transaction" else database.connection

    async def work() -> None:
        async with open_connection() as connection:
            if name == "transaction":
                await connection.execute("update number set value = 1")
            started.set()
            await connection.execute("select pg_sleep(600)")

    for _ in range(24):  # several times the size of the pool
        started.clear()
        task = asyncio.create_task(work())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    sleepers = "select 1 from pg_stat_activity where query like '%pg_sleep(600)' and state = 'active'"
    async with asyncio.timeout(60), database.connection() as connection:
        while await connection.fetch(sleepers):
            pass
    assert await value(database) == 0


async def test_deadlock_victims_are_retried(database: Database, empty_database_url: str) -> None:
    """The victim of a deadlock (40P01) is retried, so that both transactions commit."""
    impatient = await Database.connect(superuser_url_of(empty_database_url))  # a superuser may set deadlock_timeout
    locked = [asyncio.Event(), asyncio.Event()]

    @retried_on_conflict
    async def add(first: int, second: int) -> None:
        async with impatient.transaction() as connection:
            await connection.execute("set local deadlock_timeout = '10ms'")
            await connection.execute("update number set value = value + 1 where id = $1", first)
            locked[first - 1].set()
            await locked[second - 1].wait()
            await connection.execute("update number set value = value + 1 where id = $1", second)

    await asyncio.gather(add(1, 2), add(2, 1))
    await impatient.close()
    assert (await value(database, 1), await value(database, 2)) == (2, 2)


async def test_serialization_failures_are_retried(database: Database) -> None:
    """A transaction that loses to a concurrent write (40001) is retried on the new data."""
    attempts = 0

    @retried_on_conflict
    async def work() -> str:
        nonlocal attempts
        attempts += 1
        async with database.transaction() as connection:
            await connection.execute("set transaction isolation level repeatable read")
            await connection.fetch("select * from number")
            if attempts == 1:
                async with database.transaction() as other:
                    await other.execute("update number set value = 10 where id = 1")
            await connection.execute("update number set value = value + 1 where id = 1")
        return "done"

    assert await work() == "done"
    assert attempts == 2
    assert await value(database) == 11


@pytest.mark.parametrize("state", ["40001", "40P01"])
async def test_a_persistent_conflict_is_raised(database: Database, state: str) -> None:
    """A conflict that persists is raised after five retries."""
    attempts = 0

    @retried_on_conflict
    async def work() -> None:
        nonlocal attempts
        attempts += 1
        async with database.transaction() as connection:
            await connection.execute(f"do $$ begin raise sqlstate '{state}'; end $$")

    with pytest.raises(asyncpg.PostgresError) as lost:
        await work()
    assert (lost.value.sqlstate, attempts) == (state, 6)


async def test_other_errors_are_raised_at_once(database: Database) -> None:
    """Errors other than conflicts are raised without a retry. An OSError of the work is not treated as an outage."""
    for error in (OSError("disk"), TimeoutError("late"), ValueError("no")):
        attempts = 0

        @retried_on_conflict
        async def work(error: Exception) -> None:
            nonlocal attempts
            attempts += 1
            async with database.transaction():
                raise error

        with pytest.raises(type(error), match=str(error)):
            await work(error)
        assert attempts == 1


async def test_an_exhausted_pool_is_unavailable_but_reachable(database: Database, remaining: RemainingTime) -> None:
    """A call waits for a free connection for half of its remaining time. A busy pool still counts as reachable."""
    async with database.connection(), database.connection(), database.connection(), database.connection():
        remaining.seconds = 0.1
        with pytest.raises(DatabaseUnavailable, match=r"no connection .* was free for 0\.05 s"):
            async with database.transaction():
                pass
        assert await database.is_reachable(5)


async def test_a_full_disk_is_an_outage_and_is_listed(database: Database) -> None:
    """A full disk raises DatabaseUnavailable and is listed in the troubles, while the database stays reachable."""
    no_room = "do $$ begin raise exception using errcode = 'disk_full', message = 'could not extend file'; end $$"
    with pytest.raises(DatabaseUnavailable, match="the disk of the database is full: could not extend file"):
        async with database.transaction() as connection:
            await connection.execute(no_room)

    assert await database.is_reachable(5)
    assert database.troubles() == ["the disk of its database is full"]
