from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from services.session.domain import BookingCall, Mail, Means, Order, Period, Quote, Session
from services.session.due_work import DueWork
from services.session.store import SessionStore

if TYPE_CHECKING:
    from mesh.database import Database
    from tests.support.postgres import DatabaseOpener

NOW = datetime(2026, 8, 3, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
PAUSE, LONGEST_PAUSE = timedelta(seconds=2), timedelta(minutes=1)
QUOTE = Quote(currency="GBP", minor_units=1250, credits=3, noise_policy="Quiet, please", requires_approval=False)


@pytest.fixture
async def database(open_database: DatabaseOpener) -> Database:
    """Connect to a database of sessions that no service runs on."""
    return await open_database("session")


@pytest.fixture
def store(database: Database) -> SessionStore:
    """Hold, confirm and release sessions."""
    return SessionStore(database)


@pytest.fixture
def due_work(database: Database) -> DueWork:
    """Claim what is left to be done."""
    return DueWork(database)


async def held(store: SessionStore) -> Session:
    """Hold a slot in a gym of its own, for a minute."""
    order = Order(uuid4(), uuid4(), Period(NOW + HOUR, NOW + 2 * HOUR), Means.CREDITS)
    call = BookingCall("operator", uuid4().hex, b"request", "correlation")
    booking = await store.hold(order, QUOTE, call, now=NOW, expire_time=NOW + timedelta(minutes=1))
    return booking.session


async def released(store: SessionStore) -> Session:
    """Hold a slot and release it, so that a refund is due now."""
    session = await store.release((await held(store)).session_id, now=NOW, due_time=NOW)
    assert session is not None
    return session


async def claim(due_work: DueWork, now: datetime, limit: int = 100) -> list[Session]:
    """Claim what is due at `now`."""
    return await due_work.claim(now, limit, pause=PAUSE, longest_pause=LONGEST_PAUSE)


async def test_what_is_due_is_claimed_again_after_pauses_that_double(store: SessionStore, due_work: DueWork) -> None:
    """A1: a service that is gone is asked again after 2, 4, 8 s and so on, and at least once a minute."""
    session = await released(store)
    now, pauses = NOW, []
    for _ in range(8):
        assert [each.session_id for each in await claim(due_work, now)] == [session.session_id]
        before = now
        while not await is_due(due_work, now):
            now += timedelta(seconds=1)
        pauses.append((now - before).total_seconds())

    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60]


async def is_due(due_work: DueWork, now: datetime) -> bool:
    """Tell whether something is due, without claiming it."""
    async with due_work._database.connection() as connection:
        return bool(await connection.fetchval("select exists (select from sessions where due_time <= $1)", now))


async def test_two_processes_never_claim_the_same_work(store: SessionStore, due_work: DueWork) -> None:
    """Several instances may run: what one of them has claimed, the others do not get until its pause is over."""
    sessions = {(await released(store)).session_id for _ in range(20)}

    claims = await asyncio.gather(*[claim(due_work, NOW, limit=3) for _ in range(8)])

    claimed = [each.session_id for claimed in claims for each in claimed]
    assert len(claimed) == len(set(claimed))
    rest = [each.session_id for each in await claim(due_work, NOW)]
    assert sorted(claimed + rest) == sorted(sessions)


async def test_work_that_is_done_is_not_due_any_more(store: SessionStore, due_work: DueWork) -> None:
    """A refund and each mail are struck off one by one; with the last of them the session is at rest."""
    session = await held(store)
    await store.confirm(session.session_id, lambda _: b"answer", now=NOW, due_time=NOW)
    cancelled = await store.cancel(session.session_id, "", now=NOW, due_time=NOW)
    assert cancelled.refund_due
    assert cancelled.mails_due == (Mail.BOOKED, Mail.NOISE_WARNING, Mail.CANCELLED)

    for mail in cancelled.mails_due:
        assert await is_due(due_work, NOW)
        await due_work.note_mailed(session.session_id, mail)
    assert await is_due(due_work, NOW)
    await due_work.note_refunded(session.session_id)

    assert not await is_due(due_work, NOW + timedelta(days=365))


async def test_a_held_slot_is_released_when_its_time_is_over_and_not_before(
    store: SessionStore, due_work: DueWork
) -> None:
    """J6: a booking that died in the middle holds the slot for seconds, and is then refunded."""
    session = await held(store)

    await due_work.release_expired(NOW + timedelta(seconds=59))
    assert await claim(due_work, NOW + timedelta(seconds=59)) == []
    assert await store.busy_periods(session.order.gym_id, session.order.period) == [session.order.period]

    await due_work.release_expired(NOW + timedelta(seconds=60))
    (due,) = await claim(due_work, NOW + timedelta(seconds=60))
    assert (due.session_id, due.refund_due, due.mails_due) == (session.session_id, True, ())
    assert await store.busy_periods(session.order.gym_id, session.order.period) == []


async def test_whoever_comes_second_finds_the_session_as_the_first_left_it(store: SessionStore) -> None:
    """T-b4: confirming and releasing exclude each other, so a session is charged and kept, or neither."""
    released_first, confirmed_first = await held(store), await held(store)
    await store.release(released_first.session_id, now=NOW, due_time=NOW)
    await store.confirm(confirmed_first.session_id, lambda _: b"answer", now=NOW, due_time=NOW)

    assert await store.confirm(released_first.session_id, lambda _: b"late", now=NOW, due_time=NOW) is None
    assert await store.release(confirmed_first.session_id, now=NOW, due_time=NOW) is None
    again = await store.confirm(confirmed_first.session_id, lambda _: b"late", now=NOW, due_time=NOW)
    assert again is not None
    assert again.response == b"answer"
