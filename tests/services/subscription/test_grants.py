from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from services.subscription.grants import expire_time_of
from services.subscription.months import add_months
from services.subscription.reports import Period, Renewed
from solo60.payment.v1.payment_pb2 import GrantCreditsRequest
from tests.services.subscription.examples import PAID_AT_ONCE
from tests.services.subscription.subscription_mesh import FOUR_HOURS, TEN_HOURS

if TYPE_CHECKING:
    from services.subscription.domain import Subscription
    from tests.services.subscription.subscription_fixture import SubscriptionFixture

DAY = timedelta(days=1)
MIDNIGHT = datetime(2027, 1, 31, tzinfo=UTC)
GRANTS = "select payload from outbox where destination ~ 'GrantCredits' order by create_time, message_id"


async def subscribe(fixture: SubscriptionFixture, plan_id: str, trial_days: int) -> Subscription:
    """Subscribe a new user."""
    async with fixture.store.transaction() as tx:
        order = await fixture.commands.order(tx, uuid4(), UUID(plan_id), trial_days=trial_days)
        return await fixture.commands.subscribe(tx, order)


async def renew(fixture: SubscriptionFixture, subscription: Subscription, period: Period) -> None:
    """Report that a period is paid."""
    async with fixture.store.transaction() as tx:
        await fixture.commands.apply_report(tx, subscription.subscription_id, Renewed(period))


async def granted(fixture: SubscriptionFixture) -> dict[str, str]:
    """Return the expiry of each grant by the period in its reason, both as dates; each grant has another period."""
    async with fixture.database.connection() as connection:
        requests = [GrantCreditsRequest.FromString(row[0]) for row in await connection.fetch(GRANTS)]
    expiries = {each.reason[-10:]: f"{each.expire_time.ToDatetime(UTC):%Y-%m-%d}" for each in requests}
    assert len(expiries) == len(requests)
    return expiries


def periods(first: datetime, count: int) -> list[Period]:
    """Return monthly periods that begin at `first`."""
    return [Period(add_months(first, number), add_months(first, number + 1)) for number in range(count)]


@pytest.mark.requirement("J4")
async def test_each_period_of_a_year_is_granted_once(fixture: SubscriptionFixture) -> None:
    """Repeated and reordered reports of a year from 31 January grant each period once, with the expiry of its rule."""
    fixture.now = MIDNIGHT
    subscription = await subscribe(fixture, FOUR_HOURS, trial_days=0)
    reports = periods(MIDNIGHT, 14) * 2
    random.Random(11).shuffle(reports)  # noqa: S311 - the order of reports

    for period in reports:
        fixture.now = max(fixture.now, period.start)
        await renew(fixture, subscription, period)

    starts = [f"{period.start:%Y-%m-%d}" for period in periods(MIDNIGHT, 14)]
    assert starts[:3] + starts[12:] == ["2027-01-31", "2027-02-28", "2027-03-31", "2028-01-31", "2028-02-29"]
    assert sorted(await granted(fixture)) == starts


@pytest.mark.parametrize(
    ("first", "expiries"),
    [
        ("2027-01-31", ["2027-03-31", "2027-04-30", "2027-05-31", "2027-06-30"]),
        ("2027-12-31", ["2028-02-29", "2028-03-31", "2028-04-30", "2028-05-31"]),
        ("2028-02-29", ["2028-04-29", "2028-05-29", "2028-06-29", "2028-07-29"]),
        ("2027-11-15", ["2028-01-15", "2028-02-15", "2028-03-15", "2028-04-15"]),
    ],
)
async def test_credits_expire_at_the_end_of_the_following_period(
    fixture: SubscriptionFixture, first: str, expiries: list[str]
) -> None:
    """The credits of a period expire at the end of the following one, also around short months and leap days."""
    fixture.now = datetime.fromisoformat(first).replace(tzinfo=UTC)
    subscription = await subscribe(fixture, FOUR_HOURS, trial_days=0)

    for period in periods(fixture.now, 4)[1:]:
        fixture.now = period.start
        await renew(fixture, subscription, period)

    assert list((await granted(fixture)).values()) == expiries


async def test_a_month_of_downtime_loses_no_period(fixture: SubscriptionFixture) -> None:
    """Periods that are reported late, out of order and together are granted once each, for at least 30 days."""
    fixture.now = MIDNIGHT
    subscription = await subscribe(fixture, FOUR_HOURS, trial_days=0)
    _, february, march, april = periods(MIDNIGHT, 4)

    fixture.now = MIDNIGHT + 95 * DAY
    for period in (april, february, march, april, february):
        await renew(fixture, subscription, period)

    assert await granted(fixture) == {
        "2027-01-31": "2027-03-31",
        "2027-04-30": "2027-06-30",
        "2027-02-28": f"{MIDNIGHT + 125 * DAY:%Y-%m-%d}",
        "2027-03-31": f"{MIDNIGHT + 125 * DAY:%Y-%m-%d}",
    }


async def test_the_credits_of_a_trial_expire_with_the_first_paid_month(fixture: SubscriptionFixture) -> None:
    """A trial's credits expire one month after its end, and the paid months count from that end."""
    fixture.now = datetime(2027, 1, 17, tzinfo=UTC)
    subscription = await subscribe(fixture, TEN_HOURS, trial_days=14)

    for period in periods(MIDNIGHT, 2):
        fixture.now = period.start
        await renew(fixture, subscription, period)

    assert await granted(fixture) == {
        "2027-01-17": "2027-02-28",
        "2027-01-31": "2027-03-31",
        "2027-02-28": "2027-04-30",
    }


async def test_a_short_trial_grants_credits_for_thirty_days(fixture: SubscriptionFixture) -> None:
    """Credits live for at least 30 days, although February follows a trial of one day."""
    fixture.now = datetime(2027, 1, 31, tzinfo=UTC)
    await subscribe(fixture, TEN_HOURS, trial_days=1)

    assert await granted(fixture) == {"2027-01-31": "2027-03-02"}


@pytest.mark.parametrize("seconds", [-1, 0, 1])
def test_the_processors_clock_moves_no_expiry_by_a_day(seconds: int) -> None:
    """A report with a start that differs by a second gives the same expiry, apart from this second."""
    start = PAID_AT_ONCE.first_period.start.replace(day=15, hour=0, minute=0, second=0)
    reported = add_months(start, 1) + timedelta(seconds=seconds)

    assert expire_time_of(PAID_AT_ONCE, reported, reported) == add_months(start, 3) + timedelta(seconds=seconds)


def test_expiries_are_in_utc() -> None:
    """The expiry has the UTC time of the period's start, although clocks in Europe change between both."""
    start = datetime(2027, 3, 1, 0, 30, tzinfo=UTC)

    assert expire_time_of(PAID_AT_ONCE, start, start) == datetime(2027, 5, 1, 0, 30, tzinfo=UTC)
