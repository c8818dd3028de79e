from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from contracts.errors import IdempotencyKeyReused, OfferNotFound, OfferNotOpen, SlotFree, SlotOffered, SlotTaken
from services.session.offers.domain import CLAIM_DURATION, OfferStatus, WaitingListMode
from services.session.sessions.domain import SessionFilter, SessionStatus
from tests.services.session.offers.stored_offers import (
    booked_in_offering_gym,
    cancel,
    claim,
    confirm,
    join,
    offers_in,
    open_offers,
    pending_expiries,
)
from tests.services.session.stored_sessions import (
    HOUR,
    MINUTE,
    NOW,
    REFUND,
    book_session,
    hold_session,
    pending_mails,
    pending_requests,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from mesh.data.database import Database
    from services.session.stores import Stores

START = NOW + HOUR
RELEASED_BY_OLDER_REPLICA = """
    update sessions set status = 'cancelled', idempotency_key = null, expire_time = null
    where status = 'pending_payment'
"""
MAKE_LEGACY = "update waiting_list set currency = null"


async def mails_of(database: Database, template_key: str) -> list[str]:
    """Return the offers or entries of the pending mails of one kind, in order."""
    return [
        each.offer_id or each.entry_id for each in await pending_mails(database) if each.template_key == template_key
    ]


async def leave_times(database: Database) -> list[bool]:
    """Return whether each member has left the waiting list, in the order of joining."""
    async with database.connection() as connection:
        rows = await connection.fetch("select leave_time is not null as has_left from waiting_list order by entry_id")
    return [row["has_left"] for row in rows]


async def test_a_freed_slot_is_offered_to_the_first_waiting_member_alone(stores: Stores, database: Database) -> None:
    """The first member to join gets an offer and a mail. The others, and the member who cancelled, get none."""
    session = await booked_in_offering_gym(stores)
    gym_id = session.order.gym_id
    await join(stores, gym_id, user_id=session.order.user_id)
    first, second = await join(stores, gym_id), await join(stores, gym_id, now=NOW + MINUTE)

    await cancel(stores, session)

    assert await offers_in(database) == [(first.entry_id, "open")]
    (offer_id,) = await open_offers(database)
    offer = await stores.offers.find(offer_id)
    assert (offer.request, offer.quote, offer.expire_time) == (first.request, first.quote, NOW + CLAIM_DURATION)
    assert await mails_of(database, "SLOT_OFFERED") == [str(offer_id)]
    assert await mails_of(database, "SPOT_AVAILABLE") == []
    assert await pending_expiries(database) == [offer_id]
    assert second.request.period == first.request.period


async def test_an_offered_slot_is_busy_and_cannot_be_booked(stores: Stores) -> None:
    """While a slot is offered, it is a conflict, other members get SLOT_OFFERED, and the waiting list stays open."""
    session = await booked_in_offering_gym(stores)
    gym_id = session.order.gym_id
    first = await join(stores, gym_id)
    await cancel(stores, session)

    assert await stores.sessions.busy_periods(gym_id, session.order.period) == [session.order.period]
    with pytest.raises(SlotOffered):
        await hold_session(stores.bookings, gym_id=gym_id, start=START + HOUR / 2)
    await join(stores, gym_id)
    assert await stores.sessions.list_of_user(first.request.user_id, SessionFilter(), 10, after=None) == []
    await book_session(stores.bookings, gym_id=gym_id, start=START + HOUR)
    with pytest.raises(SlotTaken):
        await hold_session(stores.bookings, gym_id=gym_id, start=START + HOUR / 2)


async def test_an_offer_ends_when_its_period_starts(stores: Stores, database: Database) -> None:
    """An offer made 10 minutes before its period ends with the start of the period, and none is made afterwards."""
    session = await booked_in_offering_gym(stores)
    await join(stores, session.order.gym_id)
    await cancel(stores, session, START - 10 * MINUTE)

    (offer_id,) = await open_offers(database)

    assert (await stores.offers.find(offer_id)).expire_time == START
    later = await booked_in_offering_gym(stores)
    await join(stores, later.order.gym_id, start=START + MINUTE)
    await join(stores, later.order.gym_id, start=START - MINUTE)
    await stores.bookings.release_expired(NOW)
    await stores.offers.decline(offer_id, now=START - MINUTE)
    assert await open_offers(database) == []


async def test_two_parts_of_a_slot_are_offered_to_two_members(stores: Stores, database: Database) -> None:
    """A freed slot is offered in parts that do not overlap. A member who waits for a taken part gets no offer."""
    session = await booked_in_offering_gym(stores)
    gym_id = session.order.gym_id
    await book_session(stores.bookings, gym_id=gym_id, start=START + HOUR)
    blocked = await join(stores, gym_id, start=START + HOUR / 4)
    halves = [await join(stores, gym_id, start=START + each, length=HOUR / 2) for each in (HOUR / 2, 0 * HOUR)]

    await cancel(stores, session)

    assert await offers_in(database) == [(half.entry_id, "open") for half in halves]
    assert await leave_times(database) == [False] * 3
    assert blocked.is_over is False


async def decline(stores: Stores, offer_id: UUID) -> None:
    """Decline an offer."""
    await stores.offers.decline(offer_id, now=NOW + MINUTE)


async def expire(stores: Stores, offer_id: UUID) -> None:
    """Expire an offer."""
    await stores.offers.expire(offer_id, now=NOW + CLAIM_DURATION)


async def leave(stores: Stores, offer_id: UUID) -> None:
    """Let the member of an offer leave the waiting list."""
    await stores.waiting_list.leave((await stores.offers.find(offer_id)).entry_id, NOW + MINUTE)


async def leave_solo60(stores: Stores, offer_id: UUID) -> None:
    """Let the member of an offer leave Solo60."""
    await stores.waiting_list.leave_all((await stores.offers.find(offer_id)).request.user_id, NOW + MINUTE)


ENDS = [(decline, "declined"), (expire, "expired"), (leave, "withdrawn"), (leave_solo60, "withdrawn")]


@pytest.mark.parametrize(("end", "status"), ENDS)
async def test_an_ended_offer_passes_to_the_next_member_and_then_to_all(
    stores: Stores, database: Database, end: Callable[[Stores, UUID], Awaitable[None]], status: str
) -> None:
    """A declined, expired or withdrawn offer passes to the next member. After the last one, the slot is free.

    No refund is due, no expiry stays pending, and the members have left the waiting list.
    """
    session = await booked_in_offering_gym(stores)
    gym_id = session.order.gym_id
    first, second = await join(stores, gym_id), await join(stores, gym_id, now=NOW + MINUTE)
    await cancel(stores, session)
    refunds = await pending_requests(database, REFUND)

    for passed, entries in (([(first, status), (second, "open")], 1), ([(first, status), (second, status)], 2)):
        await end(stores, (await open_offers(database))[0])
        assert await offers_in(database) == [(entry.entry_id, each) for entry, each in passed]
        assert await leave_times(database) == [True] * entries + [False] * (2 - entries)
        assert await pending_expiries(database) == await open_offers(database)

    assert await pending_requests(database, REFUND) == refunds
    await book_session(stores.bookings, gym_id=gym_id)
    with pytest.raises(SlotFree):
        await join(stores, gym_id, start=START + 2 * HOUR)


async def test_a_member_may_wait_for_two_slots_and_decline_one(stores: Stores, database: Database) -> None:
    """Declining one slot offers an overlapping one to the same member, if that member waits for it too."""
    session = await booked_in_offering_gym(stores)
    gym_id, member = session.order.gym_id, uuid4()
    await join(stores, gym_id, user_id=member)
    half = await join(stores, gym_id, user_id=member, length=HOUR / 2)
    await cancel(stores, session)

    await decline(stores, (await open_offers(database))[0])

    assert (await offers_in(database))[1:] == [(half.entry_id, "open")]


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


async def test_the_reconciler_does_not_end_an_open_offer(stores: Stores, database: Database) -> None:
    """The reconciler releases no slot of an open offer, even after its end: ExpireOffer does that."""
    session = await booked_in_offering_gym(stores)
    entry = await join(stores, session.order.gym_id)
    await cancel(stores, session)

    await stores.bookings.release_expired(NOW + 2 * CLAIM_DURATION)

    assert await offers_in(database) == [(entry.entry_id, "open")]


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


async def test_an_unknown_offer_is_not_found(stores: Stores) -> None:
    """Reading, claiming, declining and expiring an unknown offer fail with OfferNotFound."""
    for call in (
        stores.offers.find(uuid4()),
        claim(stores, uuid4()),
        decline(stores, uuid4()),
        expire(stores, uuid4()),
    ):
        with pytest.raises(OfferNotFound):
            await call


async def test_declining_twice_changes_nothing(stores: Stores, database: Database) -> None:
    """Declining a declined offer succeeds and passes the slot on once."""
    session = await booked_in_offering_gym(stores)
    for _ in range(3):
        await join(stores, session.order.gym_id)
    await cancel(stores, session)
    (offer_id,) = await open_offers(database)

    await decline(stores, offer_id)
    await decline(stores, offer_id)

    assert [status for _, status in await offers_in(database)] == ["declined", "open"]


async def test_a_released_hold_is_offered_to_members_who_joined_before(stores: Stores, database: Database) -> None:
    """A booking that fails offers its slot to every waiting member, also to those who joined before the hold."""
    session = await booked_in_offering_gym(stores)
    gym_id = session.order.gym_id
    other = await hold_session(stores.bookings, gym_id=gym_id, start=START + HOUR)
    entry = await join(stores, gym_id, start=START + HOUR)

    assert await stores.bookings.release(other.session_id, now=NOW)

    assert await offers_in(database) == [(entry.entry_id, "open")]


async def test_without_a_stored_price_a_member_gets_a_mail_instead(stores: Stores, database: Database) -> None:
    """Entries from before the service stored prices get the mail about a free slot, unless the slot is offered."""
    for offered in (False, True):
        session = await booked_in_offering_gym(stores)
        gym_id = session.order.gym_id
        legacy = await join(stores, gym_id)
        async with database.transaction() as connection:
            await connection.execute(MAKE_LEGACY)
        if offered:
            await join(stores, gym_id)
        await cancel(stores, session)
        assert (str(legacy.entry_id) in await mails_of(database, "SPOT_AVAILABLE")) is not offered
        assert len(await open_offers(database)) == offered


async def test_the_mode_of_a_gym_can_change(stores: Stores, database: Database) -> None:
    """A gym that no longer offers slots mails all waiting members when the next slot becomes free."""
    session = await booked_in_offering_gym(stores)
    gym_id = session.order.gym_id
    entries = [await join(stores, gym_id) for _ in range(2)]
    await stores.offers.set_mode(gym_id, WaitingListMode.NOTIFY_ALL)

    await cancel(stores, session)

    assert await mails_of(database, "SPOT_AVAILABLE") == [str(entry.entry_id) for entry in entries]
    assert await offers_in(database) == []


async def test_a_slot_that_an_older_replica_has_released_passes_on(stores: Stores, database: Database) -> None:
    """If a replica of the previous release has released an offered slot, the offer cannot be claimed, and passes on."""
    session = await booked_in_offering_gym(stores)
    first, second = await join(stores, session.order.gym_id), await join(stores, session.order.gym_id)
    await cancel(stores, session)
    (offer_id,) = await open_offers(database)
    async with database.transaction() as connection:
        await connection.execute(RELEASED_BY_OLDER_REPLICA)

    with pytest.raises(OfferNotOpen):
        await claim(stores, offer_id)
    await expire(stores, offer_id)

    assert await offers_in(database) == [(first.entry_id, "expired"), (second.entry_id, "open")]
