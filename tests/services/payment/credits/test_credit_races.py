"""Concurrent changes of one credit account."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from contracts.errors import InsufficientCredits
from mesh.data.database import Database
from services.payment.domain import ChargeOrder, PaymentMethod, Price
from tests.services.payment.cashiers import NOON, balance, cashier_of, expire, grant
from tests.services.payment.ledger_queries import violations
from tests.support.eventually import eventually
from tests.support.postgres import connection_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    import asyncpg

DAY = timedelta(days=1)
ENTRIES = """
    select transactions.kind, sum(amount)::bigint as credits, count(*) as entries
    from entries join transactions using (transaction_id) join accounts using (account_id)
    where user_id = $1 group by 1
"""
DEADLOCKS = "select deadlocks from pg_stat_database where datname = current_database()"
ALONE = """
    select not exists (
        select from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
            and backend_type = 'client backend'
    )
"""
PRICE = 3


@pytest.fixture
async def busy_database(payment_url: str) -> AsyncIterator[Database]:
    """Connect to the payment database with one connection for each of 16 concurrent calls."""
    database = await Database.connect(payment_url, max_connections=16)
    yield database
    await database.close()


async def charge(database: Database, user_id: UUID, now: datetime, session_id: UUID | None = None) -> str:
    """Charge a session; return "captured", or "rejected" if there are too few credits."""
    order = ChargeOrder(session_id or uuid4(), user_id, Price("GBP", 1250, PRICE), PaymentMethod.CREDITS)
    try:
        return str((await cashier_of(database, lambda: now).charge(order, "")).status)
    except InsufficientCredits:
        return "rejected"


async def refund(database: Database, session_id: UUID, now: datetime) -> str:
    """Refund a session and return its status."""
    payment = await cashier_of(database, lambda: now).refund(session_id, "session cancelled")
    assert payment is not None
    return str(payment.status)


async def entries_of(database: Database, user_id: UUID) -> dict[str, tuple[int, int]]:
    """Return credits and number of a user's entries by kind."""
    async with database.connection() as connection:
        return {row["kind"]: (row["credits"], row["entries"]) for row in await connection.fetch(ENTRIES, user_id)}


async def test_charges_grants_refunds_and_expiries_race_on_one_account(busy_database: Database) -> None:
    """Concurrent changes of one account, before and after an expiry, lose no credit and create none."""
    user_id, booked = uuid4(), [uuid4() for _ in range(8)]
    for days in range(1, 9):
        await grant(busy_database, user_id, 5, NOON + days * DAY)
    for session_id in booked:
        await charge(busy_database, user_id, NOON, session_id)

    answers = await asyncio.gather(
        *[charge(busy_database, user_id, NOON + number % 3 * DAY) for number in range(12)],
        *[refund(busy_database, session_id, NOON + 2 * DAY) for session_id in booked],
        *[grant(busy_database, user_id, 2, NOON + (3 + number) * DAY, NOON) for number in range(6)],
        *[expire(busy_database, user_id, NOON + number % 4 * DAY) for number in range(8)],
    )

    entries = await entries_of(busy_database, user_id)
    statuses = Counter(answer for answer in answers if isinstance(answer, str))
    charged = len(booked) + statuses["captured"]
    assert entries["charge"] == (-PRICE * charged, charged)
    assert entries["refund"] == (PRICE * len(booked), len(booked))
    assert entries["grant"] == (8 * 5 + 6 * 2, 14)
    await expire(busy_database, user_id, NOON + 100 * DAY)
    assert await balance(busy_database, user_id, NOON + 100 * DAY) == 0
    assert sum(credits_ for credits_, _ in (await entries_of(busy_database, user_id)).values()) == 0
    assert await violations(busy_database) == set()


async def test_the_last_credits_pay_for_one_of_many_charges(busy_database: Database) -> None:
    """Sixteen charges race for credits in three lots that pay for one session: one is captured, fifteen rejected."""
    user_id = uuid4()
    for days in (1, 2, 3):
        await grant(busy_database, user_id, 1, NOON + days * DAY)

    answers = await asyncio.gather(*[charge(busy_database, user_id, NOON) for _ in range(16)])

    assert Counter(answers) == {"captured": 1, "rejected": 15}
    assert await violations(busy_database) == set()


async def test_an_expiry_is_booked_once_by_many_calls(busy_database: Database) -> None:
    """Sixteen concurrent bookings of one expiry take the credits once."""
    user_id = uuid4()
    await grant(busy_database, user_id, 5, NOON + DAY)

    await asyncio.gather(*[expire(busy_database, user_id, NOON + DAY) for _ in range(16)])

    assert (await entries_of(busy_database, user_id))["expiry"] == (-5, 1)


async def test_changes_of_several_accounts_never_deadlock(payment_url: str) -> None:
    """Refunds, charges, grants and expiries of four members, in any order, cause no deadlock at the database."""
    async with connection_to(payment_url) as connection:
        before = await connection.fetchval(DEADLOCKS)
    database = await Database.connect(payment_url, max_connections=16)
    users = [uuid4() for _ in range(4)]
    booked = {uuid4(): user for user in users for _ in range(3)}
    for user_id in users:
        await grant(database, user_id, 20, NOON + DAY)
    for session_id, user_id in booked.items():
        await charge(database, user_id, NOON, session_id)
    for _ in range(3):
        await asyncio.gather(
            *[refund(database, session_id, NOON + DAY) for session_id in booked],
            *[charge(database, user_id, NOON + DAY, session_id) for session_id, user_id in booked.items()],
            *[grant(database, user_id, 2, NOON + 2 * DAY, NOON + DAY) for user_id in users],
            *[expire(database, user_id, NOON + DAY) for user_id in users],
            return_exceptions=True,
        )
    # A session of the server reports its deadlocks when it ends.
    await database.close()

    async with connection_to(payment_url) as connection:
        await eventually(partial(is_alone, connection))
        assert await connection.fetchval(DEADLOCKS) == before


async def is_alone(connection: asyncpg.Connection[asyncpg.Record]) -> bool:
    """Return whether no other session of the server uses the database."""
    return bool(await connection.fetchval(ALONE))
