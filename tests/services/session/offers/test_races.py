from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest

from contracts.errors import OfferNotOpen, SlotFree, SlotOffered, SlotTaken
from services.session.offers.domain import CLAIM_DURATION
from tests.services.session.offers.stored_offers import (
    booked_in_offering_gym,
    cancel,
    claim,
    join,
    offers_in,
    open_offers,
)
from tests.services.session.stored_sessions import HOUR, NOW, hold_session

if TYPE_CHECKING:
    from uuid import UUID

    from mesh.data.database import Database
    from services.session.stores import Stores

ROUNDS = 15
HOLDERS = """
    select count(*) from sessions where gym_id = $1 and status in ('pending_payment', 'pending_approval', 'confirmed')
"""
# The same as an offer, for a member who has none.
HOLD_AGAIN = """
    insert into sessions (user_id, gym_id, period, paid_in, currency, minor_units, credits, noise_policy,
        requires_approval, caller, idempotency_key, request_sha256, correlation_id, status, create_time, update_time,
        expire_time)
    select gen_random_uuid(), gym_id, period, paid_in, currency, minor_units, credits, noise_policy, requires_approval,
        caller, 'another', request_sha256, correlation_id, status, create_time, update_time, expire_time
    from sessions where status = 'pending_payment'
"""


async def assert_one_holder_each(database: Database) -> None:
    """Assert that the number of holders of each gym's hour is one."""
    async with database.connection() as connection:
        rows = await connection.fetch("select distinct gym_id from sessions")
        assert {await connection.fetchval(HOLDERS, row["gym_id"]) for row in rows} == {1}


async def test_one_of_ten_concurrent_claims_wins(stores: Stores, database: Database) -> None:
    """Of ten concurrent claims of one offer one holds the slot, and nine fail with OfferNotOpen."""
    session = await booked_in_offering_gym(stores)
    await join(stores, session.order.gym_id)
    await cancel(stores, session)
    (offer_id,) = await open_offers(database)

    answers = await asyncio.gather(*[claim(stores, offer_id) for _ in range(10)], return_exceptions=True)

    assert sum(isinstance(answer, OfferNotOpen) for answer in answers) == 9
    await assert_one_holder_each(database)


async def test_claim_decline_and_expiry_have_one_outcome(stores: Stores, database: Database) -> None:
    """If an offer is claimed, declined, expired and left at once, one of these wins and the slot has one holder."""
    for _ in range(ROUNDS):
        session = await booked_in_offering_gym(stores)
        first = await join(stores, session.order.gym_id)
        await join(stores, session.order.gym_id)
        await cancel(stores, session)
        offer_id = (await open_offers(database))[-1]

        answers = await asyncio.gather(
            claim(stores, offer_id),
            stores.offers.decline(offer_id, now=NOW),
            stores.offers.expire(offer_id, now=NOW + CLAIM_DURATION),
            stores.waiting_list.leave(first.entry_id, NOW),
            stores.waiting_list.leave_all(first.request.user_id, NOW),
            return_exceptions=True,
        )

        failures = [answer for answer in answers if isinstance(answer, BaseException)]
        assert all(isinstance(each, OfferNotOpen) for each in failures), failures
    await assert_one_holder_each(database)


async def test_nobody_else_gets_a_slot_that_is_freed_and_offered(stores: Stores, database: Database) -> None:
    """Members who book while a slot is being freed fail, because cancellation and offer are one transaction."""
    for _ in range(ROUNDS):
        session = await booked_in_offering_gym(stores)
        gym_id = session.order.gym_id
        entry = await join(stores, gym_id)

        _, *answers = await asyncio.gather(
            cancel(stores, session),
            *[hold_session(stores.bookings, gym_id=gym_id) for _ in range(5)],
            return_exceptions=True,
        )

        assert {type(answer) for answer in answers} <= {SlotTaken, SlotOffered}
        assert (entry.entry_id, "open") in await offers_in(database)
    await assert_one_holder_each(database)


async def test_joining_while_a_slot_is_offered_never_finds_it_free(stores: Stores, database: Database) -> None:
    """A member who joins while the slot passes from its owner to an offer gets onto the list."""
    for _ in range(ROUNDS):
        session = await booked_in_offering_gym(stores)
        gym_id = session.order.gym_id
        await join(stores, gym_id)

        _, answer = await asyncio.gather(cancel(stores, session), join(stores, gym_id), return_exceptions=True)

        assert not isinstance(answer, BaseException), answer
    await assert_one_holder_each(database)


async def test_a_member_who_leaves_while_the_slot_is_freed_holds_nothing(stores: Stores, database: Database) -> None:
    """A member who leaves the list while the slot is being freed gets no offer, or one that is withdrawn."""
    for _ in range(ROUNDS):
        session = await booked_in_offering_gym(stores)
        entry = await join(stores, session.order.gym_id)
        await asyncio.gather(cancel(stores, session), stores.waiting_list.leave(entry.entry_id, NOW))

        assert (entry.entry_id, "open") not in await offers_in(database)
        with pytest.raises(SlotFree):
            await join(stores, session.order.gym_id)


async def test_the_constraint_allows_one_holder(stores: Stores, database: Database) -> None:
    """The database itself rejects a second holder of an offered slot."""
    session = await booked_in_offering_gym(stores)
    await join(stores, session.order.gym_id)
    await cancel(stores, session)

    with pytest.raises(asyncpg.ExclusionViolationError):
        async with database.transaction() as connection:
            await connection.execute(HOLD_AGAIN)
    assert await stores.sessions.busy_periods(session.order.gym_id, session.order.period) == [session.order.period]


async def test_many_gyms_pass_on_their_slots_at_once(stores: Stores, database: Database) -> None:
    """Members with offers in several gyms leave at once, and no deadlock reaches the caller."""
    sessions = [await booked_in_offering_gym(stores) for _ in range(6)]
    leaving: list[UUID] = []
    for number, session in enumerate(sessions):
        entry = await join(stores, session.order.gym_id, user_id=leaving[number - 2] if number > 1 else None)
        leaving.append(entry.request.user_id)
        await join(stores, session.order.gym_id, now=NOW + HOUR / 60)
        await cancel(stores, session)

    await asyncio.gather(*[stores.waiting_list.leave_all(each, NOW) for each in leaving])

    assert len(await open_offers(database)) == 6
    await assert_one_holder_each(database)
