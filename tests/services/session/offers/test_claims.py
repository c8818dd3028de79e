from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from contracts.errors import IdempotencyKeyReused, OfferNotOpen, SlotOffered
from services.session.offers.domain import CLAIM_DURATION, OfferStatus
from services.session.sessions.domain import SessionFilter, SessionStatus
from tests.services.session.offers.stored_offers import (
    booked_in_offering_gym,
    cancel,
    claim,
    confirm,
    decline,
    expire,
    join,
    leave_times,
    mails_of,
    offers_in,
    open_offers,
    pending_expiries,
)
from tests.services.session.stored_sessions import (
    HOUR,
    MINUTE,
    NOW,
    REFUND,
    hold_session,
    pending_requests,
)

if TYPE_CHECKING:
    from mesh.data.database import Database
    from services.session.stores import Stores

START = NOW + HOUR


async def test_a_claimed_offer_is_booked(stores: Stores, database: Database) -> None:
    """A claimed slot is booked at the price of the offer. The member leaves the list, and no expiry stays pending."""
    session = await booked_in_offering_gym(stores)
    entry = await join(stores, session.order.gym_id)
    await cancel(stores, session)
    (offer_id,) = await open_offers(database)

    booking = await claim(stores, offer_id)
    booked = await confirm(stores, booking)

    assert (booked.status, booked.quote) == (SessionStatus.CONFIRMED, entry.quote)
    assert booked.order.user_id == entry.request.user_id
    assert await offers_in(database) == [(entry.entry_id, "claimed")]
    assert await leave_times(database) == [True]
    assert await pending_expiries(database) == []
    assert await stores.sessions.list_of_user(booked.order.user_id, SessionFilter(), 10, after=None) == [booked]
    for late in (claim, decline):
        with pytest.raises(OfferNotOpen):
            await late(stores, offer_id)
    await expire(stores, offer_id)
    assert await offers_in(database) == [(entry.entry_id, "claimed")]


async def test_a_failed_claim_leaves_the_offer_open(stores: Stores, database: Database) -> None:
    """After a failed charge, the offer is open again until its old end, and another claim may succeed."""
    session = await booked_in_offering_gym(stores)
    entry = await join(stores, session.order.gym_id)
    await cancel(stores, session)
    (offer_id,) = await open_offers(database)
    expiries, failed = await pending_expiries(database), await claim(stores, offer_id, key="first")

    assert await stores.bookings.release(failed.session.session_id, now=NOW + MINUTE)

    offer = await stores.offers.find(offer_id)
    assert (offer.status, offer.expire_time) == (OfferStatus.OPEN, NOW + CLAIM_DURATION)
    assert offer.session_id != failed.session.session_id
    assert len(await pending_requests(database, REFUND)) == 2
    assert await pending_expiries(database) == expiries
    assert len(await mails_of(database, "SLOT_OFFERED")) == 1
    with pytest.raises(SlotOffered):
        await hold_session(stores.bookings, gym_id=session.order.gym_id)
    booked = await confirm(stores, await claim(stores, offer_id, NOW + 2 * MINUTE, key="first"))
    assert booked.order.user_id == entry.request.user_id


@pytest.mark.parametrize("has_left", [False, True])
async def test_a_claim_that_fails_too_late_passes_the_slot_on(
    stores: Stores, database: Database, *, has_left: bool
) -> None:
    """If a charge fails after the offer has expired, or its member has left, the next member gets the offer.

    The reconciler releases the slot, because the process died while charging. The expiry in between changes nothing.
    """
    session = await booked_in_offering_gym(stores)
    first, second = [await join(stores, session.order.gym_id, now=NOW + each * MINUTE) for each in range(2)]
    await cancel(stores, session)
    (offer_id,) = await open_offers(database)
    await claim(stores, offer_id, NOW + CLAIM_DURATION - MINUTE)
    if has_left:
        await stores.waiting_list.leave(first.entry_id, NOW)
    else:
        await expire(stores, offer_id)
    assert await offers_in(database) == [(first.entry_id, "claimed")]

    await stores.bookings.release_expired(NOW + CLAIM_DURATION)

    ended = "withdrawn" if has_left else "expired"
    assert await offers_in(database) == [(first.entry_id, ended), (second.entry_id, "open")]


async def test_an_expired_offer_can_neither_be_claimed_nor_declined(stores: Stores, database: Database) -> None:
    """From its end on, an offer is not open, although ExpireOffer may come later."""
    session = await booked_in_offering_gym(stores)
    await join(stores, session.order.gym_id)
    await cancel(stores, session)
    (offer_id,) = await open_offers(database)

    with pytest.raises(OfferNotOpen):
        await claim(stores, offer_id, NOW + CLAIM_DURATION)
    with pytest.raises(OfferNotOpen):
        await stores.offers.decline(offer_id, now=NOW + CLAIM_DURATION)
    await claim(stores, offer_id, NOW + CLAIM_DURATION - timedelta(microseconds=1))


async def test_a_repeated_claim_finds_its_booking(stores: Stores, database: Database) -> None:
    """A claim with the same key returns the same booking. The key of another request is rejected."""
    session = await booked_in_offering_gym(stores)
    gym_id = session.order.gym_id
    for each in (0 * HOUR, HOUR / 2):
        await join(stores, gym_id, start=START + each, length=HOUR / 2)
    await cancel(stores, session)
    one, other = await open_offers(database)

    booking = await claim(stores, one, key="key")

    assert await claim(stores, one, key="key") == booking
    with pytest.raises(OfferNotOpen):
        await claim(stores, one, key="another key")
    async with database.transaction() as connection:
        await connection.execute("update sessions set request_sha256 = 'x' where idempotency_key = 'key'")
    with pytest.raises(IdempotencyKeyReused):
        await claim(stores, other, key="key")
