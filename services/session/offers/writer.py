"""Writer of offers in a caller's transaction. The caller has locked the gym's calendar."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.session.offers.domain import OfferStatus
from services.session.offers.rows import OFFERS, offer_of
from services.session.sessions.rows import require_row
from services.session.sessions.store import lock_session, release_hold

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from mesh.transaction import Transaction
    from services.session.offers.domain import Offer
    from services.session.sessions.domain import Session

# The payment method is not known before the claim, so this one is never used.
_HOLD = """
    insert into sessions (user_id, gym_id, period, paid_in,
                          currency, minor_units, credits, noise_policy, requires_approval,
                          caller, idempotency_key, request_sha256, correlation_id,
                          status, create_time, update_time, expire_time, offer_id)
    select user_id, gym_id, period, 'credits', currency, minor_units, credits, noise_policy, requires_approval,
        'session', 'offer/' || gen_random_uuid(), '', $2, 'pending_payment', $3, $3, $4, $5
    from waiting_list where entry_id = $1 and leave_time is null for update
    returning session_id
"""
_ADD = """
    insert into offers (offer_id, entry_id, session_id, status, expire_time, create_time, update_time)
    values ($1, $2, $3, 'open', $4, $5, $5)
"""
_NEW_ID = "select uuidv7()"
_LOCK_OPEN = f"{OFFERS} where entry_id = any($1) and status = 'open' order by offer_id for update of offers"
_END = "update offers set status = $2, update_time = $3 where offer_id = $1"
_LEAVE = "update waiting_list set leave_time = coalesce(leave_time, $2) where entry_id = $1"
_LOCK_CLAIMED = """
    select offers.*, leave_time is not null as has_left from offers join waiting_list using (entry_id)
    where offer_id = $1 for update
"""
_REOPEN = "update offers set status = 'open', session_id = $2, update_time = $3 where offer_id = $1"
_LEAVE_BOOKED = """
    update waiting_list set leave_time = coalesce(leave_time, $2)
    where entry_id = (select entry_id from offers where offer_id = $1)
"""


async def add_offer(
    tx: Transaction, entry_id: UUID, correlation_id: str, *, now: datetime, expire_time: datetime
) -> tuple[UUID, UUID] | None:
    """Hold the slot of a waiting list entry and add an open offer; return the ids of the offer and its session.

    Return None if the member has left the waiting list.
    """
    offer_id: UUID = await tx.connection.fetchval(_NEW_ID)
    session_id: UUID | None = await tx.connection.fetchval(_HOLD, entry_id, correlation_id, now, expire_time, offer_id)
    if session_id is None:
        return None
    await tx.connection.execute(_ADD, offer_id, entry_id, session_id, expire_time, now)
    return offer_id, session_id


async def lock_open_offers(tx: Transaction, entry_ids: Sequence[UUID]) -> list[Offer]:
    """Lock the open offers to these waiting list entries until the transaction ends, and return them."""
    return [offer_of(row) for row in await tx.connection.fetch(_LOCK_OPEN, entry_ids)]


async def close_offer(tx: Transaction, offer: Offer, status: OfferStatus, now: datetime) -> Session:
    """End an open offer, remove the member from the waiting list, and return the session with the released slot."""
    await tx.connection.execute(_END, offer.offer_id, status, now)
    await tx.connection.execute(_LEAVE, offer.entry_id, now)
    # A replica of the previous release may have released the slot, because it knows no offers.
    return await release_hold(tx, offer.session_id, now) or await lock_session(tx, offer.session_id)


async def reopen_offer(tx: Transaction, released: Session, now: datetime) -> bool:
    """Hold the slot again for the member whose claim has failed, and return True.

    If the offer has expired or the member has left the waiting list, end the offer and return False instead.
    """
    row = require_row(await tx.connection.fetchrow(_LOCK_CLAIMED, released.offer_id))
    offer_id, entry_id, expire_time = row["offer_id"], row["entry_id"], row["expire_time"]
    if row["has_left"] or expire_time <= now:
        status = OfferStatus.WITHDRAWN if row["has_left"] else OfferStatus.EXPIRED
        await tx.connection.execute(_END, offer_id, status, now)
        await tx.connection.execute(_LEAVE, entry_id, now)
        return False
    session_id = await tx.connection.fetchval(_HOLD, entry_id, released.correlation_id, now, expire_time, offer_id)
    await tx.connection.execute(_REOPEN, offer_id, session_id, now)
    return True


async def leave_booked(tx: Transaction, offer_id: UUID, now: datetime) -> None:
    """Remove the member who has booked an offered slot from the waiting list."""
    await tx.connection.execute(_LEAVE_BOOKED, offer_id, now)
