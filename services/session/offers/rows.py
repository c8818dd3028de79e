"""Conversion between database rows and offers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.session.offers.domain import Offer, OfferStatus
from services.session.sessions.rows import period_of, quote_of
from services.session.waiting_list.domain import WaitRequest

if TYPE_CHECKING:
    import asyncpg


# Offers with the columns of their waiting list entries. Complete the statement with a condition.
OFFERS = """
    select offers.*, user_id, gym_id, period, currency, minor_units, credits, noise_policy, requires_approval
    from offers join waiting_list using (entry_id)
"""


def offer_of(row: asyncpg.Record) -> Offer:
    """Return the offer in a row of OFFERS."""
    return Offer(
        offer_id=row["offer_id"],
        entry_id=row["entry_id"],
        session_id=row["session_id"],
        request=WaitRequest(row["user_id"], row["gym_id"], period_of(row["period"])),
        quote=quote_of(row),
        status=OfferStatus(row["status"]),
        expire_time=row["expire_time"],
        create_time=row["create_time"],
    )
