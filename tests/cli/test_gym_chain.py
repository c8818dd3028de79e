from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from uuid import UUID

from cli.gym_chain import DAYS, Payment, PlannedBooking, bookings, members
from cli.gyms import GYMS
from services.gym.domain import Gym, Period
from services.gym.wire import parse_properties

# A week before the clocks change, so that the bookings are on both sides of the change.
NOW = datetime(2026, 3, 20, 12, 34, 56, tzinfo=UTC)


def test_members_are_distinct_and_the_same_for_one_random_seed() -> None:
    """One random seed always gives the same members, with distinct addresses and every way to pay."""
    first, second = (list(members(500, rng(1))) for _ in range(2))

    assert first == second
    assert len({member.email for member in first}) == 500
    assert {member.payment for member in first} == set(Payment)
    assert list(members(500, rng(2))) != first


def test_bookings_are_possible() -> None:
    """Each booking is in the future, on quarter hours, at most 12 hours long, and within the opening hours."""
    for booking in bookings_of_many():
        plan = GYMS[booking.gym]
        gym = Gym(UUID(int=booking.gym), parse_properties(plan), NOW, NOW)
        assert NOW < booking.start < NOW + timedelta(days=DAYS + 1)
        assert booking.start.timestamp() % 900 == booking.end.timestamp() % 900 == 0
        assert gym.is_open_throughout(Period(booking.start, booking.end)), (plan.name, booking)


def bookings_of_many() -> list[PlannedBooking]:
    """Return the bookings of 300 members."""
    return [booking for number in range(300) for booking in bookings(rng(number), NOW)]


def rng(random_seed: int) -> random.Random:
    """Return a random number generator with a seed."""
    return random.Random(random_seed)  # noqa: S311 - not a secret
