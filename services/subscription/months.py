"""Calendar months of billing periods, in UTC."""

from __future__ import annotations

import calendar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


def add_months(start: datetime, count: int, *, anchor_day: int | None = None) -> datetime:
    """Return the same day and time `count` months later, or the last day of a shorter month.

    Count from the first period, never from the previous one: one month after 31 January is 28 February, and two months
    after it are 31 March. If only a later period is known, pass the day on which the first period began as
    `anchor_day`. A start on the last day of its month then returns to that day: with day 31, one month after 28
    February is 31 March.
    """
    years, month = divmod(start.month - 1 + count, 12)
    day = start.day
    if anchor_day is not None and day == days_in_month(start.year, start.month):
        day = max(day, anchor_day)
    year, month = start.year + years, month + 1
    return start.replace(year=year, month=month, day=min(day, days_in_month(year, month)))


def days_in_month(year: int, month: int) -> int:
    """Return the number of days in a month, which is 1 to 12."""
    return calendar.monthrange(year, month)[1]


def month_of(time: datetime) -> str:
    """Return the month of a UTC time, such as "2026-11"."""
    return f"{time:%Y-%m}"
