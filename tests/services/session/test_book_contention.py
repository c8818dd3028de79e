from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg
import pytest

from contracts.errors import Unavailable
from interceptors.errors import HEDGE_ATTEMPT
from tests.services.session.town import CREDITS_PER_HOUR, HOUR, TOMORROW, order, period
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.services.session.town import Town

MEMBERS = 50
# A call waits for a lock for half of this time, and a busy machine needs part of the other half to answer.
PATIENCE_S = 8.0
# gRPC's core does not retry a hedged attempt. Each retry would wait for half of the remaining time.
SENT_ONCE = ((HEDGE_ATTEMPT, "1"),)

# A booking made by hand, as a fault in the service would make it.
INSERT = """
    insert into sessions (user_id, gym_id, period, status, currency, minor_units, credits, noise_policy,
        requires_approval, paid_in, create_time, update_time, expire_time, caller, request_sha256, correlation_id)
    select user_id, gym_id, tstzrange(lower(period) + $1::interval, upper(period) + $1), status, currency, minor_units,
        credits, noise_policy, requires_approval, paid_in, create_time, update_time, expire_time, caller,
        request_sha256, correlation_id
    from sessions
"""


async def test_the_last_slot_goes_to_one_member(town: Town) -> None:
    """Issue 2: fifty members want one slot: one has it and pays, the others are told why not, one mail is sent."""
    gym = await town.a_gym()
    await make_calendar(town, gym)
    members = await asyncio.gather(*[town.a_member(credits_granted=CREDITS_PER_HOUR) for _ in range(MEMBERS)])

    async with holding_back(town, gym):
        booking = asyncio.gather(
            *[town.sessions.BookSession(order(member, gym)) for member in members], return_exceptions=True
        )
    answers = await booking

    outcomes = Counter(type(answer).__name__ for answer in answers)
    assert outcomes == {"BookSessionResponse": 1, "SlotTaken": MEMBERS - 1}
    balances = Counter(await asyncio.gather(*[town.balance(member) for member in members]))
    assert balances == {0: 1, CREDITS_PER_HOUR: MEMBERS - 1}
    assert await town.busy(gym) == [period()]
    assert len(await town.mails(1)) == 1


async def test_as_many_members_as_slots_all_get_one(town: Town) -> None:
    """Issue 2: nobody is turned away who wants what nobody else does."""
    gym = await town.a_gym()
    members = await asyncio.gather(*[town.a_member() for _ in range(20)])

    answers = await asyncio.gather(
        *[town.booked(order(member, gym, start=TOMORROW + number * HOUR)) for number, member in enumerate(members)]
    )

    assert len({session.session_id for session in answers}) == len(members)
    assert len(await town.mails(len(members))) == len(members)


async def test_overlapping_wishes_are_met_without_overlap(town: Town) -> None:
    """Whoever gets a slot, and however the wishes overlap: the sessions that stand do not."""
    gym = await town.a_gym()
    await make_calendar(town, gym)
    member = await town.a_member(credits_granted=1000)
    wishes = [order(member, gym, start=TOMORROW + number * HOUR / 4, length=HOUR) for number in range(16)] * 3

    async with holding_back(town, gym):
        booking = asyncio.gather(*[town.sessions.BookSession(wish) for wish in wishes], return_exceptions=True)
    await booking

    busy = await town.busy(gym, TOMORROW, 10 * HOUR)
    ends = [each.end_time.ToDatetime() for each in busy]
    starts = [each.start_time.ToDatetime() for each in busy]
    assert busy
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))


async def test_bookings_of_one_gym_wait_for_each_other_but_not_for_ever(town: Town) -> None:
    """Trap 0.4: contention queues at one row; who has waited for half of the call's time is told to come back."""
    member, gym, elsewhere = await town.a_member(), await town.a_gym(), await town.a_gym()
    await make_calendar(town, gym)

    async with town.mesh.database("session").transaction() as connection:
        await connection.execute("select from calendars where gym_id = $1 for update", UUID(gym))
        with pytest.raises(Unavailable, match="Too many bookings"):
            await town.sessions.BookSession(order(member, gym), timeout=PATIENCE_S, metadata=SENT_ONCE)
        await town.booked(order(member, elsewhere))

    await town.booked(order(member, gym))


@asynccontextmanager
async def holding_back(town: Town, gym: str) -> AsyncIterator[None]:
    """Hold back the bookings of a gym that are begun in this context until as many as can be are in the database."""

    async def are_waiting() -> bool:
        async with town.mesh.database("session").connection() as another:
            query = (
                "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
            )
            return int(await another.fetchval(query)) >= town.mesh.settings.database_connections - 1

    async with town.mesh.database("session").transaction() as connection:
        await connection.execute("select from calendars where gym_id = $1 for update", UUID(gym))
        yield
        await eventually(are_waiting)


async def make_calendar(town: Town, gym: str) -> None:
    """Make the row for which bookings wait; the first of a new gym would also wait for each other by making it."""
    async with town.mesh.database("session").transaction() as connection:
        await connection.execute("insert into calendars (gym_id) values ($1)", UUID(gym))


@pytest.mark.parametrize("status", ["pending_payment", "pending_approval", "confirmed"])
async def test_the_database_lets_nothing_overlap_whoever_writes_to_it(town: Town, status: str) -> None:
    """Trap 0.4: beneath the lock stands a constraint: what holds a slot cannot overlap, even by hand in SQL."""
    await town.booked(order(await town.a_member(), await town.a_gym()))
    await town.settled()

    with pytest.raises(asyncpg.ExclusionViolationError, match="sessions_never_overlap"):
        await insert_another(town, status)


async def insert_another(town: Town, status: str) -> None:
    """Give the only session this status, and insert another like it, half an hour later."""
    async with town.mesh.database("session").transaction() as connection:
        await connection.execute(
            "update sessions set status = $1, expire_time = case when $1 = 'pending_payment' then now() end", status
        )
        await connection.execute(INSERT, HOUR / 2)


async def test_the_database_lets_periods_touch_and_cancelled_ones_overlap(town: Town) -> None:
    """The constraint is no stricter than the promise."""
    await town.booked(order(await town.a_member(), await town.a_gym()))
    await town.settled()

    async with town.mesh.database("session").transaction() as connection:
        await connection.execute(INSERT, HOUR)
        await connection.execute("update sessions set status = 'cancelled'")
        await connection.execute(INSERT, HOUR / 2)


async def test_the_constraint_is_in_the_catalog(town: Town) -> None:
    """Issue 2: the backstop against double booking is an exclusion constraint over gym and period."""
    async with town.mesh.database("session").connection() as connection:
        definition = await connection.fetchval(
            "select pg_get_constraintdef(oid) from pg_constraint where conname = 'sessions_never_overlap'"
        )

    assert definition.startswith("EXCLUDE USING gist (gym_id WITH =, period WITH &&) WHERE")
    assert all(status in definition for status in ("pending_payment", "pending_approval", "confirmed"))
