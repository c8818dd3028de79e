"""Lots beside an earlier version, which charges, grants and refunds without them."""

from __future__ import annotations

import asyncio
import shutil
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from mesh.data.migrations import migrate
from services.payment.domain import ChargeOrder, PaymentMethod, Price
from tests.services.payment.cashiers import NOON, balance, cashier_of, expire, grant
from tests.services.payment.ledger_queries import someone_waits_for_a_lock, violations
from tests.support.eventually import eventually
from tests.support.postgres import connection_to, lazy_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from mesh.data.database import Database

MIGRATIONS = Path(__file__).parents[4] / "services" / "payment" / "migrations"
LAST_BEFORE, TABLES, BACKFILL = 20, 21, 22
# Above every number: the cashier needs the newest tables.
NEWEST = 10_000
DAY = timedelta(days=1)
LOTS = """
    select granted, remaining, expire_time from lots join accounts using (account_id)
    where user_id = $1 order by lot_id
"""
OPEN = (
    "insert into accounts (kind, currency, user_id, balance) values ('member', 'CREDIT', $1, 0) on conflict do nothing"
)
LOCK = "select balance from accounts where kind = 'member' and user_id = $1 for update"
ADD_PAYMENT = """
    with new_session as (insert into sessions (session_id) values ($1) returning session_id)
    insert into payments
        (session_id, user_id, method, currency, minor_units, credits, status, create_time, update_time)
    select session_id, $2, 'credits', 'GBP', 1250, $3, 'captured', $4, $4 from new_session returning payment_id
"""
ADD_TRANSACTION = """
    insert into transactions (kind, payment_id, reason, create_time) values ($1, $2, '', $3) returning transaction_id
"""
ADD_ENTRIES = """
    insert into entries select $1, account_id, 'CREDIT', case kind when 'member' then $3::bigint else -$3::bigint end
    from accounts where currency = 'CREDIT' and (user_id = $2 or kind = $4)
"""


class EarlierVersion:
    """Statements of the version without lots, on its database."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self._folder = folder

    async def migrate(self, up_to: int) -> None:
        """Apply the migrations up to a number."""
        for path in MIGRATIONS.glob("*.sql"):
            if int(path.name.partition("_")[0]) <= up_to:
                shutil.copy(path, self._folder)
        await migrate(self.url, self._folder)

    async def grant(self, user_id: UUID, credits_granted: int) -> None:
        """Grant credits."""
        async with connection_to(self.url) as connection, connection.transaction():
            await connection.execute(OPEN, user_id)
            await connection.execute(LOCK, user_id)
            transaction_id = await connection.fetchval(ADD_TRANSACTION, "grant", None, NOON)
            await connection.execute(ADD_ENTRIES, transaction_id, user_id, credits_granted, "issued")

    async def charge(self, user_id: UUID, credits_charged: int) -> UUID:
        """Charge a new session, and return its id."""
        session_id = uuid4()
        async with connection_to(self.url) as connection, connection.transaction():
            await connection.execute(LOCK, user_id)
            payment_id = await connection.fetchval(ADD_PAYMENT, session_id, user_id, credits_charged, NOON)
            transaction_id = await connection.fetchval(ADD_TRANSACTION, "charge", payment_id, NOON)
            await connection.execute(ADD_ENTRIES, transaction_id, user_id, -credits_charged, "income")
        return session_id


@pytest.fixture
async def earlier(empty_database_url: str, tmp_path: Path) -> EarlierVersion:
    """Create the database of the earlier version."""
    version = EarlierVersion(empty_database_url, tmp_path)
    await version.migrate(LAST_BEFORE)
    return version


@pytest.fixture
async def database(earlier: EarlierVersion) -> AsyncIterator[Database]:
    """Connect to the database of the earlier version."""
    opened = await lazy_database(earlier.url)
    yield opened
    await opened.close()


async def lots(database: Database, user_id: UUID) -> list[tuple[int, int, datetime | None]]:
    """Return granted credits, remaining credits and expiry of a user's lots."""
    async with database.connection() as connection:
        return [(row[0], row[1], row[2]) for row in await connection.fetch(LOTS, user_id)]


async def test_balances_become_lots_that_never_expire(earlier: EarlierVersion, database: Database) -> None:
    """The migration turns each balance into one lot without expiry, and an empty account into none."""
    users = [uuid4() for _ in range(250)]
    for number, user_id in enumerate(users):
        await earlier.grant(user_id, number + 1)
    await earlier.charge(users[0], 1)
    await earlier.charge(users[9], 4)

    await earlier.migrate(BACKFILL + 1)

    assert await lots(database, users[0]) == []
    assert await lots(database, users[9]) == [(6, 6, None)]
    assert await lots(database, users[249]) == [(250, 250, None)]
    assert await balance(database, users[249]) == 250
    assert await violations(database) == set()


async def test_the_earlier_version_works_between_the_files(earlier: EarlierVersion, database: Database) -> None:
    """Between tables and backfill, the earlier version charges and grants, and no balance is counted twice."""
    charged, granted = uuid4(), uuid4()
    for user_id in (charged, granted):
        await earlier.grant(user_id, 10)

    await earlier.migrate(TABLES)
    await earlier.charge(charged, 4)
    await earlier.grant(granted, 5)
    await earlier.migrate(BACKFILL + 1)

    assert await lots(database, charged) == [(6, 6, None)]
    assert await lots(database, granted) == [(15, 15, None)]
    assert await violations(database) == set()


async def test_the_backfill_waits_for_a_running_charge(earlier: EarlierVersion, database: Database) -> None:
    """The backfill waits for a charge that is under way, and then counts the balance that the charge left."""
    user_id = uuid4()
    await earlier.grant(user_id, 10)
    await earlier.migrate(TABLES)

    async with connection_to(earlier.url) as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(LOCK, user_id)
        backfill = asyncio.ensure_future(earlier.migrate(BACKFILL + 1))
        await eventually(partial(someone_waits_for_a_lock, database))
        transaction_id = await connection.fetchval(ADD_TRANSACTION, "grant", None, NOON)
        await connection.execute(ADD_ENTRIES, transaction_id, user_id, 5, "issued")
        await transaction.commit()
    await backfill

    assert await lots(database, user_id) == [(15, 15, None)]
    assert await violations(database) == set()


async def test_both_versions_work_side_by_side(earlier: EarlierVersion, database: Database) -> None:
    """The earlier version's charges take the credits that expire first, and its grants never expire."""
    user_id = uuid4()
    await earlier.migrate(BACKFILL + 1)
    await grant(database, user_id, 5, NOON + DAY)
    await grant(database, user_id, 5)

    await earlier.charge(user_id, 7)
    await earlier.grant(user_id, 2)

    assert await lots(database, user_id) == [(5, 0, NOON + DAY), (5, 3, None), (2, 2, None)]
    assert await balance(database, user_id) == 5
    assert await violations(database) == set()


async def test_charges_of_the_earlier_version_can_be_refunded(earlier: EarlierVersion, database: Database) -> None:
    """A refund returns credits to the lots of a charge. Those of a charge from before lots never expire."""
    user_id = uuid4()
    await earlier.grant(user_id, 3)
    before = await earlier.charge(user_id, 3)
    await earlier.migrate(NEWEST)
    await grant(database, user_id, 3, NOON + DAY)
    beside = await earlier.charge(user_id, 3)

    for session_id in (before, beside):
        await cashier_of(database).refund(session_id, "session cancelled")

    assert await lots(database, user_id) == [(3, 3, NOON + DAY), (3, 3, None)]
    assert await violations(database) == set()


async def test_versions_charge_one_account_at_once(earlier: EarlierVersion, database: Database) -> None:
    """Concurrent charges of both versions, with an expiry between them, keep lots and balance equal."""
    user_id = uuid4()
    await earlier.migrate(NEWEST)
    await grant(database, user_id, 20, NOON + DAY)
    await grant(database, user_id, 20)
    cashier = cashier_of(database)
    orders = [ChargeOrder(uuid4(), user_id, Price("GBP", 1250, 2), PaymentMethod.CREDITS) for _ in range(6)]

    await asyncio.gather(
        *[cashier.charge(order, "") for order in orders],
        *[earlier.charge(user_id, 2) for _ in range(6)],
        expire(database, user_id, NOON),
    )

    assert await balance(database, user_id) == 16
    assert await lots(database, user_id) == [(20, 0, NOON + DAY), (20, 16, None)]
    assert await violations(database) == set()
