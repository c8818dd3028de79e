from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import GymClosed
from services.gym.domain import ALWAYS_OPEN, MAX_HOURLY_PRICE, Gym, GymProperties, OpeningHours, Period, Quote

QUARTER = timedelta(minutes=15)
WINTER_MORNING = datetime(2026, 1, 14, 9, tzinfo=UTC)
PROPERTIES = GymProperties(
    name="Field Street Gym",
    time_zone="Europe/London",
    currency_code="GBP",
    minor_units_per_hour=1250,
    credits_per_hour=3,
    noise_policy="No dropped weights after 20:00",
    opening_hours=ALWAYS_OPEN,
    requires_approval=False,
)
# London's summer time begins at 01:00 UTC on the first day and ends at 01:00 UTC on the second.
CLOCK_GOES_FORWARD = (2026, 3, 29)
CLOCK_GOES_BACK = (2026, 10, 25)

prices = st.integers(1, MAX_HOURLY_PRICE)
quarters = st.integers(1, 48)


def gym(hours: tuple[int, int] = (0, 1440), **properties: int | str) -> Gym:
    """Return a gym in London at £12.50 or 3 credits an hour; `hours` are minutes of the day."""
    changed = replace(PROPERTIES, opening_hours=OpeningHours(*hours), **properties)  # type: ignore[arg-type]  # the callers pass valid types
    return Gym(UUID(int=1), changed, WINTER_MORNING, WINTER_MORNING)


def utc(day: tuple[int, int, int], start: str, end: str) -> Period:
    """Return a period between two UTC times of one day. An end that is not after the start is on the next day."""
    first, last = (datetime.fromisoformat(f"{datetime(*day, tzinfo=UTC):%Y-%m-%d}T{time}Z") for time in (start, end))
    return Period(first, last if last > first else last + timedelta(days=1))


def lasting(count: int) -> Period:
    """Return a period of this number of quarter hours."""
    return Period(WINTER_MORNING, WINTER_MORNING + count * QUARTER)


@pytest.mark.parametrize(
    ("count", "quote"),
    [(4, Quote(1250, 3)), (8, Quote(2500, 6)), (6, Quote(1875, 5)), (1, Quote(313, 1)), (48, Quote(15000, 36))],
)
def test_a_price_is_proportional_and_rounded_up(count: int, quote: Quote) -> None:
    """A price is proportional to the length of the period, and rounded up to a whole unit."""
    assert gym().quote(lasting(count)) == quote


@given(prices, quarters)
def test_a_price_is_the_smallest_whole_number_that_covers_the_time(per_hour: int, count: int) -> None:
    """A price is at least the exact proportional price, and less than one unit above it."""
    quote = gym(minor_units_per_hour=per_hour, credits_per_hour=per_hour).quote(lasting(count))

    exact = per_hour * Fraction(count, 4)
    assert exact <= quote.minor_units < exact + 1
    assert quote.credits == quote.minor_units


@given(prices, quarters, quarters)
def test_a_longer_period_is_never_cheaper(per_hour: int, one: int, another: int) -> None:
    """A longer period, or a higher hourly price, costs at least as much."""
    here = gym(minor_units_per_hour=per_hour)
    shorter, longer = sorted((one, another))

    assert here.quote(lasting(shorter)).minor_units <= here.quote(lasting(longer)).minor_units
    dearer = gym(minor_units_per_hour=min(per_hour + 1, MAX_HOURLY_PRICE))
    assert here.quote(lasting(one)).minor_units <= dearer.quote(lasting(one)).minor_units


@given(prices, st.integers(1, 24), st.integers(1, 24))
def test_splitting_a_period_never_saves_money(per_hour: int, one: int, another: int) -> None:
    """Two periods cost at least as much as one of their total length, and at most one unit more."""
    here = gym(minor_units_per_hour=per_hour)

    split = here.quote(lasting(one)).minor_units + here.quote(lasting(another)).minor_units
    assert 0 <= split - here.quote(lasting(one + another)).minor_units <= 1


def test_the_highest_price_for_the_longest_period_fits_an_int64() -> None:
    """The highest hourly price for the longest period of 12 hours fits the contract's int64."""
    assert gym(minor_units_per_hour=MAX_HOURLY_PRICE).quote(lasting(48)).minor_units < 2**63


@pytest.mark.parametrize(("start", "end"), [("06:00", "07:00"), ("21:00", "22:00"), ("10:00", "22:00")])
def test_a_period_may_fill_the_opening_hours(start: str, end: str) -> None:
    """A gym open from 06:00 to 22:00 can be used from its first to its last minute."""
    assert gym((360, 1320)).is_open_throughout(utc((2026, 1, 14), start, end))


@pytest.mark.parametrize(
    ("start", "end"),
    [("05:45", "07:00"), ("21:15", "22:15"), ("22:00", "23:00"), ("21:00", "07:00"), ("23:00", "01:00")],
)
def test_a_period_outside_the_opening_hours_is_rejected(start: str, end: str) -> None:
    """A gym open from 06:00 to 22:00 quotes no price for a period that is partly or fully outside."""
    with pytest.raises(GymClosed):
        gym((360, 1320)).quote(utc((2026, 1, 14), start, end))


def test_opening_hours_may_start_and_end_within_a_quarter_hour() -> None:
    """A gym open from 06:10 to 22:05 is closed for periods that start before 06:10 or end after 22:05."""
    here = gym((370, 1325))

    assert here.is_open_throughout(utc((2026, 1, 14), "06:15", "22:00"))
    assert not here.is_open_throughout(utc((2026, 1, 14), "06:00", "07:00"))
    assert not here.is_open_throughout(utc((2026, 1, 14), "21:00", "22:15"))


def test_a_gym_that_closes_at_midnight_cannot_be_used_past_midnight() -> None:
    """A period may end at midnight if the opening hours do, and may pass midnight only if they do."""
    until_midnight, after_midnight = utc((2026, 1, 14), "23:00", "00:00"), utc((2026, 1, 14), "23:00", "00:15")

    assert gym((0, 1440)).is_open_throughout(after_midnight)
    assert gym((1, 1440)).is_open_throughout(until_midnight)
    assert not gym((1, 1440)).is_open_throughout(after_midnight)
    assert not gym((0, 1439)).is_open_throughout(until_midnight)


def test_opening_hours_are_local_time() -> None:
    """Opening hours are local: 06:00 in London is 06:00 UTC in winter and 05:00 UTC in summer."""
    here = gym((360, 1320))

    assert not here.is_open_throughout(utc((2026, 1, 14), "05:00", "06:00"))
    assert here.is_open_throughout(utc((2026, 7, 14), "05:00", "06:00"))
    assert not here.is_open_throughout(utc((2026, 7, 14), "21:00", "22:00"))
    assert gym((360, 1320), time_zone="Asia/Kathmandu").is_open_throughout(utc((2026, 7, 14), "00:15", "01:15"))


def test_when_the_clock_goes_forward_the_gym_opens_an_hour_earlier_in_utc() -> None:
    """On 29 March 2026 a London gym that opens at 06:00 opens at 05:00 UTC, and the hour from 01:00 does not exist."""
    here = gym((360, 1320))
    assert here.is_open_throughout(utc(CLOCK_GOES_FORWARD, "05:00", "06:00"))
    assert not here.is_open_throughout(utc(CLOCK_GOES_FORWARD, "21:00", "22:00"))

    # The hour from 01:00 to 02:00 does not exist. A period that ends at its start ends within hours that end inside it.
    until_half_past_one = gym((0, 90))
    assert until_half_past_one.is_open_throughout(utc(CLOCK_GOES_FORWARD, "00:00", "01:00"))
    assert not until_half_past_one.is_open_throughout(utc(CLOCK_GOES_FORWARD, "00:00", "01:15"))


def test_when_the_clock_goes_back_the_repeated_hour_counts_twice() -> None:
    """On 25 October 2026 London has the hour from 01:00 to 02:00 twice, and opening hours apply to both."""
    here = gym((360, 1320))
    assert not here.is_open_throughout(utc(CLOCK_GOES_BACK, "05:00", "06:00"))
    assert here.is_open_throughout(utc(CLOCK_GOES_BACK, "06:00", "07:00"))

    # A period from the first 01:15 to the second 01:15 starts and ends within the hours, but leaves them at 01:45.
    assert not gym((60, 105)).is_open_throughout(utc(CLOCK_GOES_BACK, "00:15", "01:15"))
    assert gym((60, 120)).is_open_throughout(utc(CLOCK_GOES_BACK, "00:00", "02:00"))


@pytest.mark.parametrize("day", [CLOCK_GOES_FORWARD, CLOCK_GOES_BACK])
def test_the_price_follows_elapsed_time_and_not_local_time(day: tuple[int, int, int]) -> None:
    """Three hours across a clock change cost three hours."""
    assert gym().quote(utc(day, "00:00", "03:00")) == Quote(3750, 9)


def test_opening_hours_may_end_on_the_next_day() -> None:
    """A gym open from 18:00 to 02:00 can be used past midnight, until 02:00 of the next day."""
    here = gym((1080, 1560))

    assert here.is_open_throughout(utc((2026, 1, 14), "18:00", "02:00"))
    assert here.is_open_throughout(utc((2026, 1, 14), "00:00", "02:00"))
    assert not here.is_open_throughout(utc((2026, 1, 14), "17:45", "18:15"))
    assert not here.is_open_throughout(utc((2026, 1, 14), "01:45", "02:15"))
    assert not here.is_open_throughout(utc((2026, 1, 14), "01:00", "19:00"))


def test_24_hours_from_any_opening_time_are_always_open() -> None:
    """A gym open from 06:00 to 06:00 of the next day never closes."""
    assert gym((360, 1800)).is_open_throughout(utc((2026, 1, 14), "05:00", "07:00"))


def test_a_night_is_as_long_as_the_clock_change_makes_it() -> None:
    """From 18:00 to 02:00 a London gym is open 7 hours when the clock goes forward, and 9 when it goes back."""
    here = gym((1080, 1560))
    before_forward, before_back = ((year, month, day - 1) for year, month, day in (CLOCK_GOES_FORWARD, CLOCK_GOES_BACK))

    assert here.is_open_throughout(utc(before_forward, "18:00", "01:00"))
    assert not here.is_open_throughout(utc(before_forward, "18:00", "01:15"))
    assert here.is_open_throughout(utc(before_back, "17:00", "02:00"))
    assert not here.is_open_throughout(utc(before_back, "17:00", "02:15"))


def test_a_skipped_closing_time_closes_the_gym_at_the_change() -> None:
    """A London gym that closes at 01:30 closes at 01:00 UTC when the clock skips from 01:00 to 02:00."""
    here, before = gym((1080, 1530)), (2026, 3, 28)

    assert here.is_open_throughout(utc(before, "18:00", "01:00"))
    assert not here.is_open_throughout(utc(before, "18:00", "01:15"))


def is_open_at(wall_time: datetime, opens: int, closes: int) -> bool:
    """Return whether a gym that opened on this local day or one of the two days before is open (the model)."""
    midnights = (datetime.combine(wall_time.date(), datetime.min.time()) - timedelta(days=days) for days in range(3))
    return any(day + timedelta(minutes=opens) <= wall_time < day + timedelta(minutes=closes) for day in midnights)


@given(
    zone=st.sampled_from(
        ["Europe/London", "America/New_York", "Australia/Lord_Howe", "America/Havana", "Pacific/Apia", "Asia/Kathmandu"]
    ),
    change=st.sampled_from([datetime(2026, 3, 8, tzinfo=UTC), datetime(2026, 3, 29, tzinfo=UTC)])
    | st.sampled_from([datetime(2026, 4, 5, tzinfo=UTC), datetime(2026, 10, 4, tzinfo=UTC)])
    | st.sampled_from([datetime(2026, 10, 25, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)])
    | st.sampled_from([datetime(2011, 12, 30, 10, tzinfo=UTC), datetime(2026, 6, 15, tzinfo=UTC)]),
    quarters_after=st.integers(-96, 96),
    count=quarters,
    opens=st.integers(0, 1439),
    length=st.integers(1, 1440),
)
@settings(deadline=None)
def test_a_gym_is_open_exactly_while_its_clock_shows_its_hours(
    zone: str, change: datetime, quarters_after: int, count: int, opens: int, length: int
) -> None:
    """Around clock changes, a gym is open for a period if its clock shows a time within its hours at each minute."""
    start = change + quarters_after * QUARTER
    period = Period(start, start + count * QUARTER)
    minutes = [start + timedelta(minutes=each) for each in range(15 * count)]
    walls = [
        (each + (each.astimezone(ZoneInfo(zone)).utcoffset() or timedelta())).replace(tzinfo=None) for each in minutes
    ]

    expected = all(is_open_at(wall, opens, opens + length) for wall in walls)

    assert gym((opens, opens + length), time_zone=zone).is_open_throughout(period) is expected
