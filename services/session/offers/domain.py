"""Domain of offers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from contracts.errors import OfferNotOpen

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from services.session.sessions.domain import Period, Quote
    from services.session.waiting_list.domain import WaitRequest

CLAIM_DURATION = timedelta(minutes=30)


class WaitingListMode(StrEnum):
    """Announcement of a slot that becomes free: to all waiting members at once, or as an offer to one at a time."""

    NOTIFY_ALL = "notify_all"
    OFFER_ONE = "offer_one"


class OfferStatus(StrEnum):
    """Status of an offer. Only an open or claimed offer holds its slot."""

    OPEN = "open"
    CLAIMED = "claimed"
    DECLINED = "declined"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Offer:
    """Offer of a slot to one waiting member, at the price of the time of joining the waiting list.

    The session with `session_id` holds the slot, and is the one that the member would book.
    """

    offer_id: UUID
    entry_id: UUID
    session_id: UUID
    request: WaitRequest
    quote: Quote
    status: OfferStatus
    expire_time: datetime
    create_time: datetime

    @property
    def cancel_key(self) -> str:
        """Key of the call that expires this offer."""
        return cancel_key_of(self.offer_id)

    def is_open(self, now: datetime) -> bool:
        """Return whether the member can claim or decline the slot."""
        return self.status is OfferStatus.OPEN and now < self.expire_time

    def require_open(self, now: datetime) -> None:
        """Raise OfferNotOpen if the offer is claimed, declined, expired or withdrawn."""
        if not self.is_open(now):
            raise OfferNotOpen


def cancel_key_of(offer_id: UUID) -> str:
    """Return the key of the call that expires an offer."""
    return f"offer/{offer_id}"


def expire_time_of(period: Period, now: datetime) -> datetime:
    """Return the end of an offer made `now`: CLAIM_DURATION later, or the start of the period if that is earlier."""
    return min(now + CLAIM_DURATION, period.start)
