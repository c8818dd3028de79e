from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest

from mesh.data.database import Database
from mesh.data.migrations import migrate
from services.session.booking.domain import BookingCall
from services.session.sessions.domain import Order, PaymentMethod, Period, Quote
from tests.services.session.stores import bookings_on
from tests.support.eventually import eventually
from tests.support.postgres import SERVICES, connection_to, superuser_url_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from services.session.booking.store import BookingStore
    from tests.support.postgres import PostgresForTests

NOON = datetime(2030, 6, 1, 12, tzinfo=UTC)
HOUR = Period(NOON, NOON + timedelta(hours=1))
QUOTE = Quote("GBP", 1250, 3, "", requires_approval=False)
MIGRATIONS = SERVICES / "session" / "migrations"
# Connections of one service process and of several. A storm of deadlocks is rare and needs many connections.
CONNECTIONS = (10, 64)
WAITING = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"


@asynccontextmanager
async def new_store(postgres: PostgresForTests, connections: int) -> AsyncIterator[tuple[BookingStore, str]]:
    """Yield a store on a newly created database, and the URL of that database."""
    url = await postgres.create()
    await migrate(url, MIGRATIONS)
    database = await Database.connect(url, max_connections=connections, remaining_s=lambda: 300.0)
    try:
        await _open_all(database, connections)
        yield bookings_on(database), url
    finally:
        await database.close()
        await postgres.drop(url)


async def _open_all(database: Database, connections: int) -> None:
    """Open every connection of the pool, so that connecting is not part of the measured time."""
    all_are_open = asyncio.Barrier(connections)

    async def open_one() -> None:
        async with database.connection():
            await all_are_open.wait()

    await asyncio.gather(*[open_one() for _ in range(connections)])


async def hold(store: BookingStore, gym_id: UUID, seconds: list[float] | None = None) -> str:
    """Try to hold the hour for a new user, and return "held" or the name of the error."""
    order = Order(uuid4(), gym_id, HOUR, PaymentMethod.CREDITS)
    call = BookingCall("operator", str(uuid4()), b"", "test")
    began_s = time.perf_counter()
    try:
        await store.hold(order, QUOTE, call, now=NOON, expire_time=NOON + timedelta(minutes=1))
    except Exception as error:  # noqa: BLE001 - every error is counted
        return type(error).__name__
    finally:
        if seconds is not None:
            seconds.append(time.perf_counter() - began_s)
    return "held"


async def sessions_in(url: str) -> int:
    """Count the sessions of a database."""
    async with connection_to(url) as connection:
        return int(await connection.fetchval("select count(*) from sessions"))


@pytest.mark.soak
@pytest.mark.parametrize("connections", CONNECTIONS)
async def test_one_of_two_hundred_concurrent_calls_holds_the_slot(postgres: PostgresForTests, connections: int) -> None:
    """In each of 100 rounds, half of them on a new database, one of 200 concurrent calls gets the slot.

    The other 199 fail with SlotTaken and none with a deadlock.
    """
    outcomes: Counter[str] = Counter()
    slowest_s, seconds = 0.0, list[float]()
    async with new_store(postgres, connections) as (reused, _):
        for number in range(100):
            began_s = time.perf_counter()
            if number % 2:
                async with new_store(postgres, connections) as (fresh, _):
                    began_s = time.perf_counter()
                    answers = Counter(await _hold_at_once(fresh, seconds))
            else:
                answers = Counter(await _hold_at_once(reused, seconds))
            slowest_s = max(slowest_s, time.perf_counter() - began_s)
            outcomes += answers
            assert answers == {"held": 1, "SlotTaken": 199}
    seconds.sort()
    p99_s = seconds[len(seconds) * 99 // 100]
    print(f"{dict(outcomes)}, p99 {p99_s:.3f} s, slowest call {seconds[-1]:.3f} s, slowest round {slowest_s:.3f} s")  # noqa: T201 - shown by pytest -s


async def _hold_at_once(store: BookingStore, seconds: list[float]) -> list[str]:
    gym_id = uuid4()
    return await asyncio.gather(*[hold(store, gym_id, seconds) for _ in range(200)])


@pytest.mark.parametrize(
    ("broken", "held"),
    [
        ("", 1),
        # Shows that the lock is really removed: without lock and constraint every call gets the slot.
        ("sessions_never_overlap", 8),
    ],
    ids=["lock removed", "lock and constraint removed"],
)
async def test_without_the_lock_the_constraint_still_prevents_double_booking(
    postgres: PostgresForTests, monkeypatch: pytest.MonkeyPatch, broken: str, held: int
) -> None:
    """Without the lock, the constraint lets one of eight concurrent calls hold the slot."""
    monkeypatch.setattr("services.session.sessions.slots._LOCK_CALENDAR", "select $1::uuid")
    gym_id = uuid4()
    async with new_store(postgres, connections=8) as (store, url), connection_to(superuser_url_of(url)) as superuser:
        # Calls that wait for each other in the constraint may deadlock. A short timeout ends them early, which shortens
        # the test.
        await superuser.execute(f"alter database {urlsplit(url).path[1:]} set deadlock_timeout = '10ms'")
        await superuser.execute(f"alter table sessions drop constraint if exists {broken or 'none'}")
        await superuser.execute("insert into calendars values ($1)", gym_id)

        async with superuser.transaction(), connection_to(url) as looker:
            await superuser.execute("lock table sessions in share mode")
            holding = asyncio.gather(*[hold(store, gym_id) for _ in range(8)])
            await eventually(partial(_all_wait, looker))
        answers = Counter(await holding)

        assert await sessions_in(url) == answers["held"] == held
        assert set(answers) <= {"held", "SlotTaken", "DeadlockDetectedError"}


async def _all_wait(looker: asyncpg.Connection[asyncpg.Record]) -> bool:
    return bool(await looker.fetchval(WAITING) == 8)
