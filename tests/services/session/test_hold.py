from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from solo60.payment.v1.payment_pb2 import RefundSessionRequest
from tests.services.session.made import MINUTE, NOW, REFUND, held, left_to_do, letters
from tests.services.session.stores import store_on, stores_on

if TYPE_CHECKING:
    from mesh.database import Database
    from services.session.store import SessionStore
    from tests.support.postgres import DatabaseOpener


@pytest.fixture
async def database(open_database: DatabaseOpener) -> Database:
    """Connect to a database of sessions that no service runs on."""
    return await open_database("session")


@pytest.fixture
def store(database: Database) -> SessionStore:
    """Hold, confirm and release sessions."""
    return store_on(database)


async def refunds(database: Database) -> list[UUID]:
    """Return the sessions whose prices are to be given back."""
    return [UUID(RefundSessionRequest.FromString(each).session_id) for each in await left_to_do(database, REFUND)]


async def mails(database: Database) -> list[str]:
    """Return the mails that are to be sent, in their order."""
    return [letter.template_key for letter in await letters(database)]


@pytest.mark.requirement("A1")
async def test_what_follows_is_written_with_the_change(store: SessionStore, database: Database) -> None:
    """A booking owes its mails from the moment that it stands, and a cancellation the refund too."""
    session = await held(store)
    assert await mails(database) == []

    await store.confirm(session.session_id, lambda _: b"answer", now=NOW)
    assert await mails(database) == ["SESSION_BOOKED", "NOISE_WARNING"]
    assert await refunds(database) == []

    await stores_on(database).decisions.cancel(session.session_id, "", now=NOW, in_credits=False)
    assert await mails(database) == ["SESSION_BOOKED", "NOISE_WARNING", "SESSION_CANCELLED"]
    assert await refunds(database) == [session.session_id]


@pytest.mark.requirement("J6")
async def test_a_held_slot_is_released_when_its_time_is_over_and_not_before(
    store: SessionStore, database: Database
) -> None:
    """A booking that died in the middle holds the slot for seconds, and is then refunded."""
    session = await held(store)

    await store.release_expired(NOW + MINUTE - timedelta(seconds=1))
    assert await refunds(database) == []
    assert await store.busy_periods(session.order.gym_id, session.order.period) == [session.order.period]

    await store.release_expired(NOW + MINUTE)
    assert await refunds(database) == [session.session_id]
    assert await mails(database) == []
    assert await store.busy_periods(session.order.gym_id, session.order.period) == []


async def test_whoever_comes_second_finds_the_session_as_the_first_left_it(
    store: SessionStore, database: Database
) -> None:
    """Confirming and releasing exclude each other, so a session is charged and kept, or neither."""
    released_first, confirmed_first = await held(store), await held(store)
    await store.release(released_first.session_id, now=NOW)
    await store.confirm(confirmed_first.session_id, lambda _: b"answer", now=NOW)

    assert await store.confirm(released_first.session_id, lambda _: b"late", now=NOW) is None
    assert await store.release(confirmed_first.session_id, now=NOW) is False
    again = await store.confirm(confirmed_first.session_id, lambda _: b"late", now=NOW)
    assert again is not None
    assert again.response == b"answer"
    assert await refunds(database) == [released_first.session_id]


@pytest.mark.parametrize("rounds", [50, pytest.param(1_000, marks=pytest.mark.soak)])
async def test_a_hold_that_expires_as_it_is_confirmed_ends_in_one_way(
    store: SessionStore, database: Database, rounds: int
) -> None:
    """At the same instant exactly one of the two wins, and what follows is what the winner wrote."""
    kept: set[UUID] = set()
    given_up: set[UUID] = set()
    for _ in range(rounds):
        session = await held(store)
        _, booking, _ = await asyncio.gather(
            store.release_expired(NOW + MINUTE),
            store.confirm(session.session_id, lambda _: b"answer", now=NOW),
            store.release_expired(NOW + MINUTE),
        )
        (kept if booking else given_up).add(session.session_id)

    assert {UUID(letter.session_id) for letter in await letters(database)} == kept
    assert sorted(await refunds(database)) == sorted(given_up)
