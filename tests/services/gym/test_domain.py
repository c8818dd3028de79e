from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import GymClosed
from services.gym.domain import ALWAYS, MAX_HOURLY_PRICE, Gym, GymTerms, OpeningHours, Period, Quote

QUARTER = timedelta(minutes=15)
WINTER_MORNING = datetime(2026, 1, 14, 9, tzinfo=UTC)
TERMS = GymTerms(
    name="Field Street Gym",
    time_zone="Europe/London",
    currency_code="GBP",
    minor_units_per_hour=1250,
    credits_per_hour=3,
    noise_policy="No dropped weights after 20:00",
    opening_hours=ALWAYS,
    requires_approval=False,
)
# The summer time of London begins at 01:00 UTC on the first of these days and ends at 01:00 UTC on the second.
CLOCK_GOES_FORWARD = (2026, 3, 29)
CLOCK_GOES_BACK = (2026, 10, 25)

prices = st.integers(1, MAX_HOURLY_PRICE)
quarters = st.integers(1, 48)


def gym(hours: tuple[int, int] = (0, 1440), **terms: int | str) -> Gym:
    """Make a gym in London that costs 12.50 pounds or 3 credits an hour; hours in minutes of the day."""
    changed = replace(TERMS, opening_hours=OpeningHours(*hours), **terms)  # type: ignore[arg-type] # tests know the types
    return Gym(UUID(int=1), changed, WINTER_MORNING, WINTER_MORNING)


def utc(day: tuple[int, int, int], start: str, end: str) -> Period:
    """Make a period from two times of one day, in UTC; an end that is not after the start is on the next day."""
    first, last = (datetime.fromisoformat(f"{datetime(*day, tzinfo=UTC):%Y-%m-%d}T{time}Z") for time in (start, end))
    return Period(first, last if last > first else last + timedelta(days=1))


def lasting(count: int) -> Period:
    """Make a period of some quarters of an hour."""
    return Period(WINTER_MORNING, WINTER_MORNING + count * QUARTER)


@pytest.mark.parametrize(
    ("count", "quote"),
    [(4, Quote(1250, 3)), (8, Quote(2500, 6)), (6, Quote(1875, 5)), (1, Quote(313, 1)), (48, Quote(15000, 36))],
)
def test_a_price_is_in_proportion_to_the_time_and_rounded_up(count: int, quote: Quote) -> None:
    """An hour costs the hourly price; a part of one costs its part, and no fraction of a penny is given away."""
    assert gym().quote(lasting(count)) == quote


@given(prices, quarters)
def test_a_price_is_the_least_whole_number_that_covers_the_time(per_hour: int, count: int) -> None:
    """Prices are exact: never below the proportional price, and less than one unit above it."""
    quote = gym(minor_units_per_hour=per_hour, credits_per_hour=per_hour).quote(lasting(count))

    exact = per_hour * Fraction(count, 4)
    assert exact <= quote.minor_units < exact + 1
    assert quote.credits == quote.minor_units


@given(prices, quarters, quarters)
def test_a_longer_period_is_never_cheaper(per_hour: int, one: int, another: int) -> None:
    """More time costs at least as much, and an hourly price more costs at least as much for the same time."""
    here = gym(minor_units_per_hour=per_hour)
    shorter, longer = sorted((one, another))

    assert here.quote(lasting(shorter)).minor_units <= here.quote(lasting(longer)).minor_units
    dearer = gym(minor_units_per_hour=min(per_hour + 1, MAX_HOURLY_PRICE))
    assert here.quote(lasting(one)).minor_units <= dearer.quote(lasting(one)).minor_units


@given(prices, st.integers(1, 24), st.integers(1, 24))
def test_splitting_a_period_never_saves_money(per_hour: int, one: int, another: int) -> None:
    """Two periods cost together at least what they cost as one, and at most one unit more."""
    here = gym(minor_units_per_hour=per_hour)

    split = here.quote(lasting(one)).minor_units + here.quote(lasting(another)).minor_units
    assert 0 <= split - here.quote(lasting(one + another)).minor_units <= 1


def test_the_dearest_gym_has_a_price_for_the_longest_period() -> None:
    """No price is too large for the contract's int64."""
    assert gym(minor_units_per_hour=MAX_HOURLY_PRICE).quote(lasting(48)).minor_units < 2**63


@pytest.mark.parametrize(("start", "end"), [("06:00", "07:00"), ("21:00", "22:00"), ("10:00", "22:00")])
def test_a_period_may_fill_the_hours(start: str, end: str) -> None:
    """A gym open from 06:00 to 22:00 can be used from the first minute to the last."""
    assert gym((360, 1320)).is_open_throughout(utc((2026, 1, 14), start, end))


@pytest.mark.parametrize(
    ("start", "end"),
    [("05:45", "07:00"), ("21:15", "22:15"), ("22:00", "23:00"), ("21:00", "07:00"), ("23:00", "01:00")],
)
def test_a_period_that_leaves_the_hours_is_refused(start: str, end: str) -> None:
    """GYM_CLOSED: a gym open from 06:00 to 22:00 has no price for a quarter of an hour outside, nor for a night."""
    with pytest.raises(GymClosed):
        gym((360, 1320)).quote(utc((2026, 1, 14), start, end))


def test_hours_need_not_fall_on_quarters() -> None:
    """A gym open from 06:10 to 22:05 is closed for a part of the quarters in between."""
    here = gym((370, 1325))

    assert here.is_open_throughout(utc((2026, 1, 14), "06:15", "22:00"))
    assert not here.is_open_throughout(utc((2026, 1, 14), "06:00", "07:00"))
    assert not here.is_open_throughout(utc((2026, 1, 14), "21:00", "22:15"))


def test_only_a_gym_that_never_closes_can_be_used_past_midnight() -> None:
    """A period may end at midnight where the hours do, and go on only where they never end."""
    until_midnight, after_midnight = utc((2026, 1, 14), "23:00", "00:00"), utc((2026, 1, 14), "23:00", "00:15")

    assert gym((0, 1440)).is_open_throughout(after_midnight)
    assert gym((1, 1440)).is_open_throughout(until_midnight)
    assert not gym((1, 1440)).is_open_throughout(after_midnight)
    assert not gym((0, 1439)).is_open_throughout(until_midnight)


def test_the_hours_are_those_of_the_clock_on_the_wall() -> None:
    """06:00 in London is 06:00 UTC in winter and 05:00 UTC in summer; in Kathmandu it is 00:15 UTC."""
    here = gym((360, 1320))

    assert not here.is_open_throughout(utc((2026, 1, 14), "05:00", "06:00"))
    assert here.is_open_throughout(utc((2026, 7, 14), "05:00", "06:00"))
    assert not here.is_open_throughout(utc((2026, 7, 14), "21:00", "22:00"))
    assert gym((360, 1320), time_zone="Asia/Kathmandu").is_open_throughout(utc((2026, 7, 14), "00:15", "01:15"))


def test_on_the_day_the_clock_goes_forward_the_gym_opens_an_hour_earlier() -> None:
    """On 29 March 2026, 06:00 in London is 05:00 UTC, and 02:00 comes right after 00:59."""
    here = gym((360, 1320))
    assert here.is_open_throughout(utc(CLOCK_GOES_FORWARD, "05:00", "06:00"))
    assert not here.is_open_throughout(utc(CLOCK_GOES_FORWARD, "21:00", "22:00"))

    # The hour from 01:00 to 02:00 does not take place: what ends at its start is within hours that end inside it.
    until_half_past_one = gym((0, 90))
    assert until_half_past_one.is_open_throughout(utc(CLOCK_GOES_FORWARD, "00:00", "01:00"))
    assert not until_half_past_one.is_open_throughout(utc(CLOCK_GOES_FORWARD, "00:00", "01:15"))


def test_on_the_day_the_clock_goes_back_the_hour_that_comes_twice_counts_twice() -> None:
    """On 25 October 2026, London reads 01:00 to 02:00 from 00:00 to 01:00 UTC, and from 01:00 to 02:00 UTC again."""
    here = gym((360, 1320))
    assert not here.is_open_throughout(utc(CLOCK_GOES_BACK, "05:00", "06:00"))
    assert here.is_open_throughout(utc(CLOCK_GOES_BACK, "06:00", "07:00"))

    # 01:15 to 01:15 an hour later begins and ends within the hours, and leaves them at 01:45 in between.
    assert not gym((60, 105)).is_open_throughout(utc(CLOCK_GOES_BACK, "00:15", "01:15"))
    assert gym((60, 120)).is_open_throughout(utc(CLOCK_GOES_BACK, "00:00", "02:00"))


@pytest.mark.parametrize("day", [CLOCK_GOES_FORWARD, CLOCK_GOES_BACK])
def test_the_price_follows_the_time_that_passes_not_the_clock(day: tuple[int, int, int]) -> None:
    """Three hours across a change of the clock cost three hours, whatever the clock on the wall says."""
    assert gym().quote(utc(day, "00:00", "03:00")) == Quote(3750, 9)
