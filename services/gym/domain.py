"""Domain of the gym service: gyms, opening hours and prices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
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


class WaitingListMode(StrEnum):
    """Announcement of a slot that becomes free: to all waiting members at once, or as an offer to one at a time."""

    NOTIFY_ALL = "notify_all"
    OFFER_ONE = "offer_one"


@dataclass(frozen=True, slots=True)
class OpeningHours:
    """Daily opening hours in local time, in minutes after midnight. `closes_minute` is exclusive.

    A `closes_minute` above 1440 is on the next day.
    """

    opens_minute: int
    closes_minute: int

    @property
    def is_always_open(self) -> bool:
        """Whether the gym never closes."""
        return self.closes_minute - self.opens_minute == MINUTES_PER_DAY

    def contains(self, wall_time: datetime) -> bool:
        """Return whether the gym is open at `wall_time`, a local time."""
        minute = wall_time.hour * 60 + wall_time.minute
        # The second number is for the opening hours that began on the day before.
        return any(self.opens_minute <= each < self.closes_minute for each in (minute, minute + MINUTES_PER_DAY))


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
    """Properties of a gym that its owner sets. Prices are in whole minor units and whole credits."""

    name: str
    time_zone: str
    currency_code: str
    minor_units_per_hour: int
    credits_per_hour: int
    noise_policy: str
    opening_hours: OpeningHours
    requires_approval: bool
    waiting_list_mode: WaitingListMode = WaitingListMode.NOTIFY_ALL


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

    def with_properties(self, properties: GymProperties, now: datetime) -> Gym:
        """Return the changed gym. `update_time` becomes `now` only if a property differs."""
        return self if properties == self.properties else replace(self, properties=properties, update_time=now)

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
