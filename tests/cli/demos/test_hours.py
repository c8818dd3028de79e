"""Free hours of a gym, and the rules of the gyms in the stories."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cli.demos.hours import HOUR, WINDOW, first_free_hour, free_hours, period, window_after
from cli.gyms import FIELD_STREET, HARBOUR_LOFTS, OLD_MILL, require_rules
from cli.terminal import CommandError
from solo60.gym.v1.gym_pb2 import Gym, OpeningHours

NOON = datetime(2026, 7, 1, 12, 20, tzinfo=UTC)


def gym(opens: int, closes: int) -> Gym:
    """Return a gym in London with these opening hours in minutes."""
    return Gym(
        name="Old Mill", time_zone="Europe/London", opening_hours=OpeningHours(opens_minute=opens, closes_minute=closes)
    )


def starts(of: Gym, *taken: tuple[datetime, datetime]) -> list[datetime]:
    """Return the starts of the free hours after NOON."""
    found = free_hours(of, window_after(NOON), [period(*each) for each in taken])
    return [each.start_time.ToDatetime(UTC) for each in found]


def test_the_first_hour_is_full_and_more_than_an_hour_away() -> None:
    """At 12:20 the first hour is 14:00. A gym without opening hours is always open."""
    assert starts(Gym(time_zone="Europe/London"))[0] == NOON.replace(hour=14, minute=0)
    assert len(starts(Gym(time_zone="Europe/London"))) == WINDOW // HOUR


def test_hours_are_free_only_during_opening_hours() -> None:
    """A gym that is open from 07:00 to 22:00 in London has its hours there, in summer an hour earlier in UTC."""
    first_day = [each.hour for each in starts(gym(420, 1320)) if each.date() == NOON.date()]

    assert first_day == list(range(14, 21))
    assert starts(gym(420, 1320))[len(first_day)].hour == 6


def test_hours_after_midnight_belong_to_the_day_before() -> None:
    """A gym that is open from 22:00 to 02:00 in London is open at 23:00 and at 01:00."""
    assert {each.hour for each in starts(gym(1320, 1560))} == {21, 22, 23, 0}


def test_taken_hours_are_not_free() -> None:
    """A session that overlaps an hour by a minute takes it; one that ends at its start does not."""
    two = NOON.replace(hour=14, minute=0)

    assert starts(gym(0, 1440), (two + timedelta(minutes=59), two + HOUR))[0] == two + HOUR
    assert starts(gym(0, 1440), (two - HOUR, two))[0] == two


def test_a_fully_booked_gym_is_an_error_with_a_way_out() -> None:
    """If no hour is free, the demo fails with the name of the gym and the command that deletes the data."""
    window = window_after(NOON)

    with pytest.raises(CommandError, match="Old Mill has no free hour in the next 31 days"):
        first_free_hour(gym(0, 1440), window, [window])


def test_a_gym_with_other_rules_is_an_error_with_a_way_out() -> None:
    """An existing gym with another mode of its waiting list, or without approval, does not fit its story."""
    require_rules(Gym(name="Old Mill", waiting_list_mode=OLD_MILL.waiting_list_mode), OLD_MILL)

    for plan in (OLD_MILL, HARBOUR_LOFTS):
        same_name = Gym(name=plan.name, waiting_list_mode=FIELD_STREET.waiting_list_mode)
        with pytest.raises(CommandError, match=f"{plan.name} was created with other rules"):
            require_rules(same_name, plan)
