from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg
import pytest

from contracts.errors import Unavailable
from interceptors.chain.metadata import HEDGE_ATTEMPT
from tests.services.session.booking_mesh import CREDITS_PER_HOUR, HOUR, TOMORROW, book_request, period
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.services.session.booking_mesh import BookingMesh

MEMBERS = 50
# A call waits for a lock for half of its timeout. A busy machine needs part of the other half to answer.
TIMEOUT_S = 8.0
# gRPC's core does not repeat a call marked as a second attempt. Each repetition would wait for half of the time left.
SENT_ONCE = ((HEDGE_ATTEMPT, "1"),)

# An overlapping booking, inserted directly as a faulty service would.
INSERT = """
    insert into sessions (user_id, gym_id, period, status, currency, minor_units, credits, noise_policy,
        requires_approval, paid_in, create_time, update_time, expire_time, caller, request_sha256, correlation_id)
    select user_id, gym_id, tstzrange(lower(period) + $1::interval, upper(period) + $1), status, currency, minor_units,
        credits, noise_policy, requires_approval, paid_in, create_time, update_time, expire_time, caller,
        request_sha256, correlation_id
    from sessions
"""


async def test_the_last_slot_goes_to_one_member(booking_mesh: BookingMesh) -> None:
    """When fifty members book one slot concurrently, one of them gets and pays for it. The others get SlotTaken."""
    gym = await booking_mesh.create_gym()
    await make_calendar(booking_mesh, gym)
    members = await asyncio.gather(
        *[booking_mesh.create_member(credits_granted=CREDITS_PER_HOUR) for _ in range(MEMBERS)]
    )

    async with delaying_bookings(booking_mesh, gym):
        booking = asyncio.gather(
            *[booking_mesh.sessions.BookSession(book_request(member, gym)) for member in members],
            return_exceptions=True,
        )
    answers = await booking

    outcomes = Counter(type(answer).__name__ for answer in answers)
    assert outcomes == {"BookSessionResponse": 1, "SlotTaken": MEMBERS - 1}
    balances = Counter(await asyncio.gather(*[booking_mesh.balance(member) for member in members]))
    assert balances == {0: 1, CREDITS_PER_HOUR: MEMBERS - 1}
    assert await booking_mesh.busy_periods(gym) == [period()]
    assert len(await booking_mesh.wait_for_mails(1)) == 1


async def test_concurrent_bookings_of_different_slots_all_succeed(booking_mesh: BookingMesh) -> None:
    """Twenty concurrent bookings of twenty different slots all succeed."""
    gym = await booking_mesh.create_gym()
    members = await asyncio.gather(*[booking_mesh.create_member() for _ in range(20)])

    answers = await asyncio.gather(
        *[
            booking_mesh.book(book_request(member, gym, start=TOMORROW + number * HOUR))
            for number, member in enumerate(members)
        ]
    )

    assert len({session.session_id for session in answers}) == len(members)
    assert len(await booking_mesh.wait_for_mails(len(members))) == len(members)


async def test_concurrent_overlapping_bookings_never_overlap(booking_mesh: BookingMesh) -> None:
    """After 48 concurrent bookings of overlapping periods the booked sessions do not overlap."""
    gym = await booking_mesh.create_gym()
    await make_calendar(booking_mesh, gym)
    member = await booking_mesh.create_member(credits_granted=1000)
    requests = [book_request(member, gym, start=TOMORROW + number * HOUR / 4, length=HOUR) for number in range(16)] * 3

    async with delaying_bookings(booking_mesh, gym):
        booking = asyncio.gather(
            *[booking_mesh.sessions.BookSession(request) for request in requests], return_exceptions=True
        )
    await booking

    busy = await booking_mesh.busy_periods(gym, TOMORROW, 10 * HOUR)
    ends = [each.end_time.ToDatetime() for each in busy]
    starts = [each.start_time.ToDatetime() for each in busy]
    assert busy
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))


async def test_bookings_of_one_gym_queue_for_a_limited_time(booking_mesh: BookingMesh) -> None:
    """A booking that waits too long for the lock of its gym fails with UNAVAILABLE, while another gym can be booked."""
    member = await booking_mesh.create_member()
    gym = await booking_mesh.create_gym()
    elsewhere = await booking_mesh.create_gym()
    await make_calendar(booking_mesh, gym)

    async with booking_mesh.mesh.database("session").transaction() as connection:
        await connection.execute("select from calendars where gym_id = $1 for update", UUID(gym))
        with pytest.raises(Unavailable, match="Too many bookings"):
            await booking_mesh.sessions.BookSession(book_request(member, gym), timeout=TIMEOUT_S, metadata=SENT_ONCE)
        await booking_mesh.book(book_request(member, elsewhere))

    await booking_mesh.book(book_request(member, gym))


@asynccontextmanager
async def delaying_bookings(booking_mesh: BookingMesh, gym: str) -> AsyncIterator[None]:
    """Delay the bookings begun in this context until all but one of the database connections wait for a lock."""

    async def are_waiting() -> bool:
        async with booking_mesh.mesh.database("session").connection() as another:
            query = (
                "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
            )
            return int(await another.fetchval(query)) >= booking_mesh.mesh.settings.database_connections - 1

    async with booking_mesh.mesh.database("session").transaction() as connection:
        await connection.execute("select from calendars where gym_id = $1 for update", UUID(gym))
        yield
        await eventually(are_waiting)


async def make_calendar(booking_mesh: BookingMesh, gym: str) -> None:
    """Insert the gym's calendar row in advance, so that bookings wait for its lock and not for its insertion."""
    async with booking_mesh.mesh.database("session").transaction() as connection:
        await connection.execute("insert into calendars (gym_id) values ($1)", UUID(gym))


@pytest.mark.parametrize("status", ["pending_payment", "pending_approval", "confirmed"])
async def test_the_database_rejects_overlapping_sessions(booking_mesh: BookingMesh, status: str) -> None:
    """A constraint rejects overlapping sessions that hold a slot, even if they are inserted without the lock."""
    await booking_mesh.book(book_request(await booking_mesh.create_member(), await booking_mesh.create_gym()))
    await booking_mesh.wait_until_settled()

    with pytest.raises(asyncpg.ExclusionViolationError, match="sessions_never_overlap"):
        await insert_another(booking_mesh, status)


async def insert_another(booking_mesh: BookingMesh, status: str) -> None:
    """Give the only session this status, and insert a copy of it half an hour later."""
    async with booking_mesh.mesh.database("session").transaction() as connection:
        await connection.execute(
            "update sessions set status = $1, expire_time = case when $1 = 'pending_payment' then now() end", status
        )
        await connection.execute(INSERT, HOUR / 2)


async def test_the_database_allows_adjacent_and_cancelled_sessions(booking_mesh: BookingMesh) -> None:
    """The constraint allows adjacent sessions, and overlapping ones that are cancelled."""
    await booking_mesh.book(book_request(await booking_mesh.create_member(), await booking_mesh.create_gym()))
    await booking_mesh.wait_until_settled()

    async with booking_mesh.mesh.database("session").transaction() as connection:
        await connection.execute(INSERT, HOUR)
        await connection.execute("update sessions set status = 'cancelled'")
        await connection.execute(INSERT, HOUR / 2)


async def test_the_constraint_is_in_the_catalog(booking_mesh: BookingMesh) -> None:
    """An exclusion constraint over gym and period covers every status that holds a slot."""
    async with booking_mesh.mesh.database("session").connection() as connection:
        definition = await connection.fetchval(
            "select pg_get_constraintdef(oid) from pg_constraint where conname = 'sessions_never_overlap'"
        )

    assert definition.startswith("EXCLUDE USING gist (gym_id WITH =, period WITH &&) WHERE")
    assert all(status in definition for status in ("pending_payment", "pending_approval", "confirmed"))
