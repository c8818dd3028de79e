"""Plans: the offers that members subscribe to, their months, and the card that pays in test mode."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from contracts.errors import CardDeclined

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

# The one card that test mode takes.
GOOD_TOKEN = "tok_visa"  # noqa: S105 - the name of a test card, which opens nothing


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan that users subscribe to: the price of a month, its credits, and the length of the trial."""

    plan_id: UUID
    name: str
    currency: str
    minor_units: int
    credits_per_month: int
    trial_days: int


def accept_card(card_token: str) -> None:
    """Raise CardDeclined unless test mode takes the card; it charges nothing."""
    if card_token != GOOD_TOKEN:
        raise CardDeclined


def a_month_after(start: datetime) -> datetime:
    """Return the same day and time of the next month, or its last day where it is shorter."""
    year, month = start.year + start.month // 12, start.month % 12 + 1
    return start.replace(year=year, month=month, day=min(start.day, calendar.monthrange(year, month)[1]))


def month_of(time: datetime) -> str:
    """Return the month in UTC of `time`: "2026-11"."""
    return f"{time:%Y-%m}"
