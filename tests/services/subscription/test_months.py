from __future__ import annotations

from datetime import UTC, datetime

import pytest

from services.subscription.months import add_months


def time_of(text: str) -> datetime:
    """Return a time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-01-31", "2026-02-28"),
        ("2028-01-31", "2028-02-29"),
        ("2026-02-28", "2026-03-28"),
        ("2026-12-15", "2027-01-15"),
        ("2026-08-31", "2026-09-30"),
    ],
)
def test_a_month_ends_on_the_same_day_or_on_the_last(start: str, end: str) -> None:
    """A month ends on the same day of the next month, or on that month's last day if it is shorter."""
    assert add_months(time_of(start), 1) == time_of(end)


@pytest.mark.parametrize(
    ("first", "later"),
    [
        ("2026-01-31T23:59:59", ["2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31"]),
        ("2027-12-30T23:59:59", ["2028-01-30", "2028-02-29", "2028-03-30", "2028-04-30"]),
        ("2028-02-29T23:59:59", ["2028-03-29", "2028-04-29", "2028-05-29", "2028-06-29"]),
    ],
)
def test_months_count_from_the_first_period(first: str, later: list[str]) -> None:
    """Months that are counted from the first period return to its day after each shorter month."""
    starts = [add_months(time_of(first), count) for count in range(1, 5)]

    assert starts == [time_of(f"{day}T23:59:59") for day in later]


def test_a_leap_day_returns_after_four_years() -> None:
    """A period that began on 29 February begins on 28 February in common years, and on 29 February in leap years."""
    years = [add_months(time_of("2028-02-29"), 12 * count) for count in (1, 2, 3, 4)]

    assert years == [time_of(f"{day}") for day in ("2029-02-28", "2030-02-28", "2031-02-28", "2032-02-29")]


@pytest.mark.parametrize(
    ("start", "anchor_day", "end"),
    [
        ("2026-02-28", 31, "2026-03-31"),
        ("2026-02-28", 30, "2026-03-30"),
        ("2026-04-30", 31, "2026-05-31"),
        ("2028-02-29", 31, "2028-03-31"),
        ("2026-02-28", 28, "2026-03-28"),
        # Neither moves to the anchor: the processor has moved the day of the charge, or its clock is a second behind.
        ("2026-03-20", 31, "2026-04-20"),
        ("2026-01-31", 1, "2026-02-28"),
    ],
)
def test_the_last_day_of_a_month_returns_to_the_anchor(start: str, anchor_day: int, end: str) -> None:
    """A period that begins on a month's last day, because the month is shorter, does not move the later ones."""
    assert add_months(time_of(start), 1, anchor_day=anchor_day) == time_of(end)
