"""Plan of a believable gym chain: its members and bookings, drawn from a random number generator."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from zxcvbn.frequency_lists import FREQUENCY_LISTS

from cli.gyms import GYMS

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from solo60.gym.v1.gym_pb2 import CreateGymRequest

# Bookings are for the days after today.
DAYS = 28
MAX_BOOKINGS = 4
QUARTER = timedelta(minutes=15)
# Hours of the day that members prefer, before and after work.
HOURS = (6, 7, 7, 7, 8, 8, 9, 10, 11, 12, 12, 13, 15, 16, 17, 17, 18, 18, 18, 19, 19, 20)
# Most common first names and surnames, which zxcvbn carries because people put them into passwords.
_COMMON = 400
FIRST_NAMES = FREQUENCY_LISTS["female_names"][:_COMMON] + FREQUENCY_LISTS["male_names"][:_COMMON]
SURNAMES = FREQUENCY_LISTS["surnames"][: 5 * _COMMON]


class Payment(StrEnum):
    """Payment method of a member."""

    CREDITS = "credits"
    CARD = "card"
    SUBSCRIPTION = "subscription"


@dataclass(frozen=True, slots=True)
class PlannedMember:
    """Member with a name, an address and a way to pay. `number` is unique in the chain."""

    number: int
    name: str
    email: str
    payment: Payment
    credits: int


@dataclass(frozen=True, slots=True)
class PlannedBooking:
    """Booking of a gym, by its index in GYMS. Another booking may have the same time."""

    gym: int
    start: datetime
    end: datetime
    guest: str
    is_cancelled: bool


def members(count: int, rng: random.Random) -> Iterator[PlannedMember]:
    """Yield `count` members. Three in ten have a subscription, and one in ten pays by card."""
    for number in range(1, count + 1):
        first, last = rng.choice(FIRST_NAMES), rng.choice(SURNAMES)
        yield PlannedMember(
            number,
            name=f"{first.title()} {last.title()}",
            email=f"{first}.{last}.{number}@solo60.example",
            payment=rng.choices(list(Payment), weights=(6, 1, 3))[0],
            credits=10 * rng.randint(12, 20),
        )


def bookings(rng: random.Random, now: datetime) -> Iterator[PlannedBooking]:
    """Yield the bookings of one member in the DAYS after the day of `now`."""
    # Nearly all members have one gym that they go to.
    home = rng.choices(range(len(GYMS)), weights=(6, 3, 3, 2, 1, 2, 2, 2))[0]
    for _ in range(rng.choices(range(MAX_BOOKINGS + 1), weights=(2, 3, 3, 2, 1))[0]):
        gym = home if rng.random() < 0.9 else rng.randrange(len(GYMS))  # noqa: PLR2004 - nine of ten
        day = (now + timedelta(days=rng.randint(1, DAYS))).date()
        zone = ZoneInfo(GYMS[gym].time_zone)
        local = datetime(day.year, day.month, day.day, rng.choice(HOURS), rng.choice((0, 0, 0, 30)), tzinfo=zone)
        start = max(local, _opening(GYMS[gym], local)).astimezone(UTC)
        yield PlannedBooking(
            gym,
            start,
            start + QUARTER * rng.choice((3, 4, 4, 4, 4, 6)),
            guest=rng.choice(FIRST_NAMES).title() if rng.random() < 0.1 else "",  # noqa: PLR2004 - one of ten
            is_cancelled=rng.random() < 0.07,  # noqa: PLR2004 - seven of a hundred
        )


def _opening(gym: CreateGymRequest, local: datetime) -> datetime:
    """Return the opening time on the day of `local`."""
    hour, minute = divmod(gym.opening_hours.opens_minute, 60)
    return local.replace(hour=hour, minute=minute)
