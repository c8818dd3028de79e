"""Domain of the gym service: gyms, opening hours and prices."""

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
MAX_PERIOD_HOURS = 12
# The price of the longest period must fit into an int64.
MAX_HOURLY_PRICE = (2**63 - 1) // MAX_PERIOD_HOURS


@dataclass(frozen=True, slots=True)
class OpeningHours:
    """Daily opening hours in local time, in minutes after midnight. `closes_minute` is exclusive."""

    opens_minute: int
    closes_minute: int

    @property
    def is_always_open(self) -> bool:
        """Whether the gym never closes."""
        return self.opens_minute == 0 and self.closes_minute == MINUTES_PER_DAY

    def contains(self, wall_time: datetime) -> bool:
        """Return whether the gym is open at `wall_time`, a local time."""
        return self.opens_minute <= wall_time.hour * 60 + wall_time.minute < self.closes_minute


ALWAYS_OPEN = OpeningHours(0, MINUTES_PER_DAY)


@dataclass(frozen=True, slots=True)
class Period:
    """Half-open interval between two timezone-aware datetimes."""

    start: datetime
    end: datetime

    @property
    def seconds(self) -> int:
        """Length of the period in whole seconds, rounded down."""
        return (self.end - self.start) // timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class GymProperties:
    """Properties of a gym set at its creation. Prices are in whole minor units and whole credits."""

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
    """Price of a period: whole minor units of the gym's currency, or whole credits."""

    minor_units: int
    credits: int


@dataclass(frozen=True, slots=True)
class Gym:
    """Gym that one member at a time can book."""

    gym_id: UUID
    properties: GymProperties
    create_time: datetime
    update_time: datetime

    def quote(self, period: Period) -> Quote:
        """Return the pro-rata price of a period, rounded up; raise GymClosed outside the opening hours."""
        if not self.is_open_throughout(period):
            raise GymClosed("The period is not within the gym's opening hours.")
        return Quote(
            minor_units=_in_proportion(self.properties.minor_units_per_hour, period.seconds),
            credits=_in_proportion(self.properties.credits_per_hour, period.seconds),
        )

    def is_open_throughout(self, period: Period) -> bool:
        """Return whether the gym is open for a whole period. The period must start on a full minute."""
        hours = self.properties.opening_hours
        if hours.is_always_open:
            return True
        # Check every minute, because local time can jump: when clocks go back, a period can start and end within the
        # opening hours and still leave them in between.
        zone = ZoneInfo(self.properties.time_zone)
        minutes = (period.start + timedelta(seconds=passed) for passed in range(0, period.seconds, 60))
        return all(hours.contains(minute.astimezone(zone)) for minute in minutes)


def _in_proportion(per_hour: int, seconds: int) -> int:
    """Return the price of `seconds` at `per_hour`, rounded up to a whole unit."""
    return -(-per_hour * seconds // SECONDS_PER_HOUR)
