from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from solo60.payment.v1.payment_pb2 import RefundSessionRequest
from tests.services.session.stored_sessions import MINUTE, NOW, REFUND, hold_session, pending_mails, pending_requests
from tests.services.session.stores import bookings_on, stores_on

if TYPE_CHECKING:
    from mesh.data.database import Database
    from services.session.booking.store import BookingStore


@pytest.fixture
def store(database: Database) -> BookingStore:
    """Return the booking store on `database`."""
    return bookings_on(database)


async def refunds(database: Database) -> list[UUID]:
    """Return the session ids of the pending refunds."""
    return [UUID(RefundSessionRequest.FromString(each).session_id) for each in await pending_requests(database, REFUND)]


async def mails(database: Database) -> list[str]:
    """Return the templates of the pending mails, in order."""
    return [mail.template_key for mail in await pending_mails(database)]


@pytest.mark.requirement("A1")
async def test_follow_ups_are_stored_with_the_change(store: BookingStore, database: Database) -> None:
    """Confirming a session stores its mails, and cancelling it stores the refund and another mail."""
    session = await hold_session(store)
    assert await mails(database) == []

    await store.confirm(session.session_id, lambda _: b"answer", now=NOW)
    assert await mails(database) == ["SESSION_BOOKED", "NOISE_WARNING"]
    assert await refunds(database) == []

    await stores_on(database).cancellations.cancel(session.session_id, "", now=NOW, in_credits=False)
    assert await mails(database) == ["SESSION_BOOKED", "NOISE_WARNING", "SESSION_CANCELLED"]
    assert await refunds(database) == [session.session_id]


@pytest.mark.requirement("J6")
async def test_a_held_slot_is_released_exactly_when_its_hold_expires(store: BookingStore, database: Database) -> None:
    """An unconfirmed hold blocks its slot until it expires, and is then released and refunded."""
    session, sessions = await hold_session(store), stores_on(database).sessions
    assert await store.next_expire_time() == NOW + MINUTE

    await store.release_expired(NOW + MINUTE - timedelta(seconds=1))
    assert await refunds(database) == []
    assert await sessions.busy_periods(session.order.gym_id, session.order.period) == [session.order.period]

    await store.release_expired(NOW + MINUTE)
    assert await store.next_expire_time() is None
    assert await refunds(database) == [session.session_id]
    assert await mails(database) == []
    assert await sessions.busy_periods(session.order.gym_id, session.order.period) == []


async def test_confirming_and_releasing_exclude_each_other(store: BookingStore, database: Database) -> None:
    """A released session cannot be confirmed and a confirmed one cannot be released.

    Confirming again returns the first answer.
    """
    released_first, confirmed_first = await hold_session(store), await hold_session(store)
    await store.release(released_first.session_id, now=NOW)
    await store.confirm(confirmed_first.session_id, lambda _: b"answer", now=NOW)

    assert await store.confirm(released_first.session_id, lambda _: b"late", now=NOW) is None
    assert await store.release(confirmed_first.session_id, now=NOW) is False
    again = await store.confirm(confirmed_first.session_id, lambda _: b"late", now=NOW)
    assert again is not None
    assert again.response == b"answer"
    assert await refunds(database) == [released_first.session_id]


@pytest.mark.parametrize("rounds", [50, pytest.param(1_000, marks=pytest.mark.soak)])
async def test_a_hold_that_expires_during_its_confirmation_has_one_outcome(
    store: BookingStore, database: Database, rounds: int
) -> None:
    """A hold that expires during its confirmation is either confirmed with a mail, or released with a refund."""
    confirmed: set[UUID] = set()
    released: set[UUID] = set()
    for _ in range(rounds):
        session = await hold_session(store)
        _, booking, _ = await asyncio.gather(
            store.release_expired(NOW + MINUTE),
            store.confirm(session.session_id, lambda _: b"answer", now=NOW),
            store.release_expired(NOW + MINUTE),
        )
        (confirmed if booking else released).add(session.session_id)

    assert {UUID(mail.session_id) for mail in await pending_mails(database)} == confirmed
    assert sorted(await refunds(database)) == sorted(released)
