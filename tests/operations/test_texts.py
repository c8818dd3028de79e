from __future__ import annotations

import doctest
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from operations import addresses, texts
from operations.metrics import texts as metrics_texts
from operations.texts import moment, rough_duration

if TYPE_CHECKING:
    from types import ModuleType


@pytest.mark.parametrize("module", [addresses, texts, metrics_texts], ids=lambda module: module.__name__)
def test_the_examples_in_the_docstrings_are_right(module: ModuleType) -> None:
    """Each example in a docstring returns what the docstring says."""
    outcome = doctest.testmod(module)

    assert outcome.attempted > 0
    assert outcome.failed == 0


@pytest.mark.parametrize(
    ("seconds", "text"), [(75, "75 s"), (150, "2 min"), (7200, "2 h"), (86_400, "24 h"), (200_000, "2 days")]
)
def test_a_rough_duration_has_the_largest_fitting_unit(seconds: float, text: str) -> None:
    """A rough duration is at least two of its unit, unless the unit is the second."""
    assert rough_duration(seconds) == text


def test_a_moment_is_in_utc() -> None:
    """A time in any zone is shown in UTC, with the zone, and with milliseconds on request."""
    in_berlin = datetime(2026, 11, 29, 9, 15, 0, 123_999, timezone(timedelta(hours=1)))

    assert moment(in_berlin) == "2026-11-29 08:15:00 UTC"
    assert moment(in_berlin.astimezone(UTC), milliseconds=True) == "2026-11-29 08:15:00.123 UTC"
    assert moment(None) == ""
