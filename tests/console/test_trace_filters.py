from __future__ import annotations

from datetime import UTC, datetime

import pytest

from console.pages.traces.elements import duration
from console.pages.traces.filters import address_of, filter_of, page_number, parameters_of
from operations.invalid_filter import InvalidFilter
from operations.traces.filter import TraceFilter


def test_an_address_has_all_filters() -> None:
    """Each parameter of the address is a condition. Empty and unknown ones are ignored."""
    query = {
        "method": " gym.GetGym ",
        "service": "gym",
        "caller": "session",
        "slower_ms": "2.5",
        "errors": "1",
        "id": "abc",
        "from": "2026-11-29T08:15",
        "to": "2026-11-29T09:15:30+01:00",
        "page": "2",
        "other": "x",
    }
    parameters = parameters_of(query)

    assert filter_of(parameters) == TraceFilter(
        method="gym.GetGym",
        service="gym",
        caller="session",
        slower_than_ms=2.5,
        only_errors=True,
        id="abc",
        since=datetime(2026, 11, 29, 8, 15, tzinfo=UTC),
        until=datetime(2026, 11, 29, 8, 15, 30, tzinfo=UTC),
    )
    assert filter_of(parameters_of({"method": "", "errors": " "})) == TraceFilter()
    assert address_of(parameters, 3).startswith("/traces?method=gym.GetGym&service=gym&")
    assert address_of(parameters, 3).endswith("&page=3")
    assert address_of({}) == "/traces"
    assert parameters_of({"correlation": "abc"}) == {"id": "abc"}


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        *(("slower_ms", value) for value in ("x", "-1", "nan", "inf")),
        *(("from", value) for value in ("now", "1", "0001-01-01T00:00+23:59")),
        ("to", "now"),
    ],
)
def test_an_invalid_parameter_is_named(parameter: str, value: str) -> None:
    """The error for an invalid parameter names it."""
    with pytest.raises(InvalidFilter, match=f"^{parameter}: "):
        filter_of({parameter: value})


@pytest.mark.parametrize("value", ["0", "-1", "x", "", "1" * 30, "²"])
def test_an_invalid_page_is_named(value: str) -> None:
    """The error for an invalid page names the parameter."""
    assert page_number("12") == 12
    with pytest.raises(InvalidFilter, match=r"^page: "):
        page_number(value)


@pytest.mark.parametrize(
    ("ms", "shown"),
    [(0.123, "0.12 ms"), (12.34, "12.3 ms"), (1519.9, "1.52 s"), (125_000, "2 min 5 s"), (-5, "-5.00 ms")],
)
def test_a_duration_has_a_unit(ms: float, shown: str) -> None:
    """A duration is shown with a unit that suits its size."""
    assert duration(ms) == shown
