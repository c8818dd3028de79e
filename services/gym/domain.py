"""Gyms as the business sees them: the hours in which one may be used, and what a period in it costs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from contracts.errors import GymClosed

if TYPE_CHECKING:
    from uuid import UUID

MINUTES_PER_DAY = 1440
SECONDS_PER_HOUR = 3600
LONGEST_PERIOD_HOURS = 12
# What the longest period costs must fit into an int64.
MAX_HOURLY_PRICE = (2**63 - 1) // LONGEST_PERIOD_HOURS


@dataclass(frozen=True, slots=True)
class OpeningHours:
    """The minutes of every day, by the clock on the wall, from which and until which a gym may be used."""

    opens_minute: int
    closes_minute: int

    @property
    def around_the_clock(self) -> bool:
        """Whether the gym never closes."""
        return self.opens_minute == 0 and self.closes_minute == MINUTES_PER_DAY

    def include(self, wall_time: datetime) -> bool:
        """Whether the gym is open at this time."""
        return self.opens_minute <= wall_time.hour * 60 + wall_time.minute < self.closes_minute


ALWAYS = OpeningHours(0, MINUTES_PER_DAY)


@dataclass(frozen=True, slots=True)
class Period:
    """A half-open stretch of time between two aware datetimes."""

    start: datetime
    end: datetime

    @property
    def seconds(self) -> int:
        """How long it lasts, in whole seconds."""
        return (self.end - self.start) // timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class GymTerms:
    """Everything about a gym that is decided by whoever adds it; prices are whole minor units and whole credits."""

    name: str
    time_zone: str
    currency_code: str
    minor_units_per_hour: int
    credits_per_hour: int
    noise_policy: str
    opening_hours: OpeningHours
    requires_approval: bool


@dataclass(frozen=True, slots=True)
class Quote:
    """What a period costs: whole minor units of the gym's currency, or whole credits."""

    minor_units: int
    credits: int


@dataclass(frozen=True, slots=True)
class Gym:
    """A place that one member at a time books for itself."""

    gym_id: UUID
    terms: GymTerms
    create_time: datetime
    update_time: datetime

    def quote(self, period: Period) -> Quote:
        """Price a period in proportion to its length, rounded up; raise GymClosed when it leaves the opening hours."""
        if not self.is_open_throughout(period):
            raise GymClosed("The period leaves the opening hours of the gym.")
        return Quote(
            minor_units=_in_proportion(self.terms.minor_units_per_hour, period.seconds),
            credits=_in_proportion(self.terms.credits_per_hour, period.seconds),
        )

    def is_open_throughout(self, period: Period) -> bool:
        """Whether the gym is open at every minute of a period that starts on a full one."""
        hours = self.terms.opening_hours
        if hours.around_the_clock:
            return True
        # Each minute is looked at because the clock on the wall may jump in between: what begins and ends within the
        # hours can still leave them when the clock is put back.
        zone = ZoneInfo(self.terms.time_zone)
        minutes = (period.start + timedelta(seconds=passed) for passed in range(0, period.seconds, 60))
        return all(hours.include(minute.astimezone(zone)) for minute in minutes)


def _in_proportion(per_hour: int, seconds: int) -> int:
    """Return the price of `seconds` at `per_hour`, exactly, rounded up."""
    return -(-per_hour * seconds // SECONDS_PER_HOUR)
