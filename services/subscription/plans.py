"""Subscription plans, calendar months, and the card check of test mode."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from contracts.errors import CardDeclined

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

# The only card token that test mode accepts.
ACCEPTED_CARD_TOKEN = "tok_visa"  # noqa: S105 - a test card, not a secret


@dataclass(frozen=True, slots=True)
class Plan:
    """Subscription plan. `minor_units` is the monthly price in minor units of `currency`."""

    plan_id: UUID
    name: str
    currency: str
    minor_units: int
    credits_per_month: int
    trial_days: int


def accept_card(card_token: str) -> None:
    """Raise CardDeclined unless `card_token` is the card of test mode. Charges nothing."""
    if card_token != ACCEPTED_CARD_TOKEN:
        raise CardDeclined


def add_month(start: datetime) -> datetime:
    """Return the same day and time one month later, or the last day of a shorter month."""
    year, month = start.year + start.month // 12, start.month % 12 + 1
    return start.replace(year=year, month=month, day=min(start.day, calendar.monthrange(year, month)[1]))


def month_of(time: datetime) -> str:
    """Return the month of a UTC time, such as "2026-11"."""
    return f"{time:%Y-%m}"
