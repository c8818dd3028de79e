"""Domain of disputes: a member denies a card payment at the bank, and the bank decides."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


class DisputeStatus(StrEnum):
    """Status of a dispute, in the order in which a dispute passes them. WON and LOST are final."""

    NEW = "new"  # never visible outside of the transaction that adds the dispute
    INQUIRY = "inquiry"
    OPEN = "open"
    WON = "won"
    LOST = "lost"

    @property
    def has_taken_money(self) -> bool:
        """Whether the card processor has taken the disputed money back."""
        return self in (DisputeStatus.OPEN, DisputeStatus.LOST)

    def after(self, reported: DisputeStatus) -> DisputeStatus:
        """Return the status after a report, which may be older than this status or repeat it."""
        return max(self, reported, key=_STAGES.__getitem__)


# A report of an earlier stage is late. WON and LOST are one stage, so the first of them remains.
_STAGES = {
    DisputeStatus.NEW: 0,
    DisputeStatus.INQUIRY: 1,
    DisputeStatus.OPEN: 2,
    DisputeStatus.WON: 3,
    DisputeStatus.LOST: 3,
}


@dataclass(frozen=True, slots=True)
class Dispute:
    """Dispute of a charge, by the id of the card processor."""

    dispute_id: str
    currency: str
    minor_units: int
    reason: str
    status: DisputeStatus
    create_time: datetime
    update_time: datetime


@dataclass(frozen=True, slots=True)
class DisputeReport:
    """Report of the card processor about a dispute. `intent_id` is the charge's payment intent, if it has one.

    `answer_time` is the time until which the processor accepts evidence, or None.
    """

    dispute_id: str
    intent_id: str
    currency: str
    minor_units: int
    reason: str
    status: DisputeStatus
    answer_time: datetime | None
