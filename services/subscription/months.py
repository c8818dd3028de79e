"""Calendar months of billing periods, in UTC."""

from __future__ import annotations

import calendar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


def add_month(start: datetime) -> datetime:
    """Return the same day and time one month later, or the last day of a shorter month."""
    year, month = start.year + start.month // 12, start.month % 12 + 1
    return start.replace(year=year, month=month, day=min(start.day, calendar.monthrange(year, month)[1]))


def month_of(time: datetime) -> str:
    """Return the month of a UTC time, such as "2026-11"."""
    return f"{time:%Y-%m}"
