from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest

from mesh.formatting import format_time


@pytest.mark.parametrize(
    ("utc", "zone", "words"),
    [
        ((2026, 10, 25, 0, 30), "Europe/London", "Sunday 25 October 2026, 01:30 (Europe/London, UTC+01:00)"),
        ((2026, 10, 25, 1, 30), "Europe/London", "Sunday 25 October 2026, 01:30 (Europe/London, UTC+00:00)"),
        ((2026, 10, 24, 23, 59), "Europe/London", "Sunday 25 October 2026, 00:59 (Europe/London)"),
        ((2026, 10, 25, 2, 0), "Europe/London", "Sunday 25 October 2026, 02:00 (Europe/London)"),
        ((2026, 3, 29, 1, 0), "Europe/London", "Sunday 29 March 2026, 02:00 (Europe/London)"),
        ((2026, 11, 1, 6, 0), "America/New_York", "Sunday 1 November 2026, 01:00 (America/New_York, UTC-05:00)"),
        ((2026, 4, 4, 14, 45), "Australia/Lord_Howe", "Sunday 5 April 2026, 01:45 (Australia/Lord_Howe, UTC+11:00)"),
        ((2026, 4, 4, 15, 15), "Australia/Lord_Howe", "Sunday 5 April 2026, 01:45 (Australia/Lord_Howe, UTC+10:30)"),
    ],
)
def test_an_ambiguous_local_time_shows_its_offset(utc: tuple[int, int, int, int, int], zone: str, words: str) -> None:
    """A local time shows its UTC offset only if the clock shows that time twice."""
    assert format_time(datetime(*utc, tzinfo=UTC), zone) == words


@pytest.mark.parametrize("zone", sorted(zone for zone in available_timezones() if zone.startswith("E")))
def test_two_instants_around_a_clock_change_never_read_the_same(zone: str) -> None:
    """No two quarter hours around a clock change in 2026 are written the same way."""
    hours = (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=hour) for hour in range(365 * 24))
    offsets = [(hour, hour.astimezone(ZoneInfo(zone)).utcoffset()) for hour in hours]
    changes = [hour for (hour, offset), (_, later) in pairwise(offsets) if offset != later]

    for change in changes:
        quarters = [change + timedelta(minutes=15 * number) for number in range(-12, 13)]
        assert len({format_time(quarter, zone) for quarter in quarters}) == len(quarters)
