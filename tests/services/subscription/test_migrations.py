from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from mesh.data.integrity import find_broken_invariants
from mesh.data.migrations import migrate
from services.subscription.commands import schedule_deadlines_of_older
from services.subscription.domain import SubscriptionStatus
from services.subscription.reports import Period, Renewed
from tests.services.subscription.subscription_fixture import SubscriptionFixture
from tests.services.subscription.subscription_mesh import DAY, FOUR_HOURS, TEN_HOURS
from tests.support.postgres import connection_to, lazy_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mesh.data.database import Database

MIGRATIONS = Path(__file__).parents[3] / "services" / "subscription" / "migrations"
LAST_BEFORE = 10
ADD = """
    insert into subscriptions (subscription_id, user_id, plan_id, first_period, is_trial, paid_period, create_time)
    values ($1, $2, $3, tstzrange($4, $5), $6,
        case when $7::timestamptz is not null then tstzrange($7, $8) end, $4)
"""
GRANT = "insert into granted_months (subscription_id, month, credits, create_time) values ($1, $2, 40, now())"
FIRST = datetime(2026, 11, 1, 9, tzinfo=UTC)
FIFTEENTH, DECEMBER, JANUARY = (datetime(2026, 11, 15, 9, tzinfo=UTC) + number * 30 * DAY for number in range(3))


class OldVersion:
    """Database of an older version, filled by the statements of that version and then migrated."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self._folder = folder
        self.trial, self.paid = uuid4(), uuid4()

    async def fill(self) -> None:
        """Add a trial followed by one paid month, and a subscription with three paid months."""
        await self._migrate(up_to=LAST_BEFORE)
        async with connection_to(self.url) as connection:
            trial = (UUID(TEN_HOURS), FIRST, FIFTEENTH, True, FIFTEENTH, DECEMBER)
            await connection.execute(ADD, self.trial, uuid4(), *trial)
            paid = (UUID(FOUR_HOURS), FIRST, FIRST + 30 * DAY, False, FIFTEENTH + 60 * DAY, JANUARY + 30 * DAY)
            await connection.execute(ADD, self.paid, uuid4(), *paid)
            granted = [(self.trial, "2026-11"), (self.paid, "2026-11"), (self.paid, "2026-12"), (self.paid, "2027-01")]
            await connection.executemany(GRANT, granted)

    async def update(self) -> None:
        """Apply the remaining migrations."""
        await self._migrate()

    async def _migrate(self, up_to: int = 9999) -> None:
        for path in MIGRATIONS.glob("*.sql"):
            if int(path.name.partition("_")[0]) <= up_to:
                shutil.copy(path, self._folder)
        await migrate(self.url, self._folder)


@pytest.fixture
async def old_version(empty_database_url: str, tmp_path: Path) -> OldVersion:
    """Fill the database of an older version."""
    version = OldVersion(empty_database_url, tmp_path)
    await version.fill()
    return version


@pytest.fixture
async def database(old_version: OldVersion) -> AsyncIterator[Database]:
    """Connect to the database of an older version."""
    opened = await lazy_database(old_version.url)
    yield opened
    await opened.close()


async def grants(database: Database) -> int:
    """Count the messages that grant credits."""
    async with database.connection() as connection:
        return int(await connection.fetchval("select count(*) from outbox where destination ~ 'GrantCredits'"))


async def renew(fixture: SubscriptionFixture, subscription_id: UUID, start: datetime) -> None:
    """Report that a period of 30 days is paid."""
    report = Renewed(Period(start, start + 30 * DAY))
    async with fixture.store.transaction() as tx:
        await fixture.commands.apply_report(tx, subscription_id, report)


async def test_months_granted_by_older_versions_are_not_granted_again(
    old_version: OldVersion, database: Database
) -> None:
    """A renewal repeated after the migration grants nothing, because an older version granted its month."""
    await old_version.update()
    fixture = SubscriptionFixture(database)

    for start in (DECEMBER, FIFTEENTH + 60 * DAY):
        await renew(fixture, old_version.paid, start)

    assert await grants(database) == 0


async def test_a_paid_period_without_a_grant_is_found_and_granted_once(
    old_version: OldVersion, database: Database
) -> None:
    """`solo60 doctor` reports a paid period that brought no credits, and AllocateMonthlyCredits grants it once."""
    await old_version.update()
    fixture = SubscriptionFixture(database)
    fixture.now = FIFTEENTH + DAY
    async with database.connection() as connection:
        (found,) = await find_broken_invariants(connection)
    assert (found.view, found.count) == ("violation_period_not_granted", 1)
    assert str(old_version.trial) in found.examples[0]

    for _ in range(2):
        async with fixture.store.transaction() as tx:
            assert await fixture.commands.allocate(tx, old_version.trial, "2026-11") == 140

    assert await grants(database) == 1
    async with database.connection() as connection:
        assert await find_broken_invariants(connection) == ()


async def test_older_subscriptions_get_deadlines_and_trial_records(old_version: OldVersion, database: Database) -> None:
    """Deadlines count from the migration on, two trials of a user become one record, and a reported end is final."""
    forgotten, long_ago = uuid4(), datetime(2024, 1, 1, tzinfo=UTC)
    user_id = uuid4()
    async with database.connection() as connection:
        trial = (UUID(TEN_HOURS), long_ago, long_ago + 14 * DAY, True, None, None)
        await connection.execute(ADD, forgotten, uuid4(), *trial)
        await connection.execute(GRANT, forgotten, "2024-01")
        for days in range(2):
            subscription_id, begin = uuid4(), FIRST + days * DAY
            trial = (UUID(TEN_HOURS), begin, begin + 14 * DAY, True, None, None)
            await connection.execute(ADD, subscription_id, user_id, *trial)
            ended = "update subscriptions set end_time = create_time, cancel_time = $2 where subscription_id = $1"
            await connection.execute(ended, subscription_id, begin if days else None)
    await old_version.update()
    fixture = SubscriptionFixture(database)

    found = await fixture.store.find(forgotten)
    assert found.status(datetime.now(UTC) + 2 * DAY) is SubscriptionStatus.TRIALING
    assert found.status(datetime.now(UTC) + 4 * DAY) is SubscriptionStatus.PAST_DUE
    async with database.connection() as connection:
        assert await connection.fetchval("select count(*) from trials where user_id = $1", user_id) == 1
        reported = "select processor_end_time is not null from subscriptions where user_id = $1 order by create_time"
        assert [row[0] for row in await connection.fetch(reported, user_id)] == [True, False]


async def test_an_older_version_can_still_add_subscriptions(old_version: OldVersion, database: Database) -> None:
    """An insert of an older version still succeeds. Its trial counts for the user, and its deadlines are found."""
    await old_version.update()
    fixture = SubscriptionFixture(database)
    user_id, now = uuid4(), fixture.now - DAY
    async with database.connection() as connection:
        trial = (UUID(TEN_HOURS), now, now + 14 * DAY, True, None, None)
        await connection.execute(ADD, UUID(int=7), user_id, *trial)
        ended = "update subscriptions set end_time = create_time where subscription_id = $1"
        await connection.execute(ended, UUID(int=7))
        await connection.execute(GRANT, UUID(int=7), f"{now:%Y-%m}")

    async with fixture.store.transaction() as tx:
        again = await fixture.subscribe(tx, user_id, TEN_HOURS)
    await schedule_deadlines_of_older(fixture.store, fixture.commands)

    assert not again.is_trial
    assert (await fixture.store.find(old_version.trial)).processed_deadline is not None


async def test_an_older_version_running_beside_this_one_grants_nothing_twice(
    old_version: OldVersion, database: Database
) -> None:
    """During a rolling update, this version and an older one respect each other's grants."""
    await old_version.update()
    fixture = SubscriptionFixture(database)
    await renew(fixture, old_version.paid, JANUARY + 30 * DAY)
    async with database.connection() as connection:
        ours = await connection.fetchval(f"{GRANT} on conflict do nothing returning true", old_version.paid, "2027-02")
        theirs = await connection.fetchval(
            f"{GRANT} on conflict do nothing returning true", old_version.paid, "2027-03"
        )
    assert (ours, theirs) == (None, True)

    await renew(fixture, old_version.paid, JANUARY + 60 * DAY)

    assert await grants(database) == 1
