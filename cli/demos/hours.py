"""Free hours of a gym."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from solo60.common.v1.period_pb2 import Period

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from solo60.gym.v1.gym_pb2 import Gym

HOUR = timedelta(hours=1)
# Longest period that CheckConflicts accepts.
WINDOW = timedelta(days=31)
_DAY_MINUTES = 1440
_HOUR_MINUTES = 60


def window_after(now: datetime) -> Period:
    """Return the period in which a story books: full hours that start at least one hour from `now`."""
    first = now.replace(minute=0, second=0, microsecond=0) + 2 * HOUR
    return period(first, first + WINDOW)


def free_hours(gym: Gym, window: Period, taken: Iterable[Period]) -> Iterator[Period]:
    """Yield the full hours of a window in which the gym is open and not booked."""
    booked = [(each.start_time.ToDatetime(UTC), each.end_time.ToDatetime(UTC)) for each in taken]
    first = window.start_time.ToDatetime(UTC)
    for number in range(WINDOW // HOUR):
        start = first + number * HOUR
        end = start + HOUR
        if _is_open(gym, start) and not any(begin < end and start < finish for begin, finish in booked):
            yield period(start, end)


def period(start: datetime, end: datetime) -> Period:
    """Return a Period from `start` to `end`."""
    message = Period()
    message.start_time.FromDatetime(start)
    message.end_time.FromDatetime(end)
    return message


def _is_open(gym: Gym, start: datetime) -> bool:
    """Return whether the gym is open for the hour from `start`."""
    if not gym.HasField("opening_hours"):
        return True
    local, hours = start.astimezone(ZoneInfo(gym.time_zone)), gym.opening_hours
    minute = _HOUR_MINUTES * local.hour + local.minute
    last = hours.closes_minute - _HOUR_MINUTES
    # Hours after midnight belong to the day before.
    return any(hours.opens_minute <= each <= last for each in (minute, minute + _DAY_MINUTES))
