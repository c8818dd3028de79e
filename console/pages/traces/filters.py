"""Filters of the list of traces: parameters of the page's address, and the form that sets them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from console.filter_form import FilterField, FilterForm, choice
from contracts.names import short_name
from operations.addresses import page_address
from operations.invalid_filter import InvalidFilter
from operations.traces.filter import TraceFilter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from operations.traces.reader import TraceNames

PATH = "/traces"
PARAMETERS = ("method", "service", "caller", "slower_ms", "errors", "id", "from", "to")


def parameters_of(query: Mapping[str, str]) -> dict[str, str]:
    """Return the filled parameters of the filters. Pages about one request call the id `correlation`."""
    query = {"id": query.get("correlation", ""), **query}
    return {name: query[name].strip() for name in PARAMETERS if query.get(name, "").strip()}


def filter_of(parameters: Mapping[str, str]) -> TraceFilter:
    """Return the filter of an address; raise InvalidFilter if a parameter is invalid."""
    return TraceFilter(
        method=parameters.get("method", ""),
        service=parameters.get("service", ""),
        caller=parameters.get("caller", ""),
        only_errors=bool(parameters.get("errors")),
        slower_than_ms=_milliseconds(parameters.get("slower_ms", "0")),
        id=parameters.get("id", ""),
        since=_time("from", parameters.get("from", "")),
        until=_time("to", parameters.get("to", "")),
    )


def address_of(parameters: Mapping[str, str], page: int = 1) -> str:
    """Return the address of a list of traces."""
    return page_address("traces", **parameters, page=str(page) if page > 1 else "")


def page_number(value: str) -> int:
    """Return the number of a page, from 1; raise InvalidFilter if it is invalid."""
    if not value.isdecimal() or not 0 < int(value[:9]) < 10**8:
        raise InvalidFilter("page", "the number of a page is 1 or more.")
    return int(value)


def _milliseconds(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise InvalidFilter("slower_ms", "give milliseconds, such as 100.")
    return number


def _time(name: str, value: str) -> datetime | None:
    if not value:
        return None
    try:
        at = datetime.fromisoformat(value)
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidFilter(name, "give a time in UTC, such as 2026-11-29T08:15.") from None


def _kind_of(time: str) -> str:
    """Return the type of the input for a time. A browser empties an input with a time that it cannot read."""
    try:
        is_known = not time or datetime.fromisoformat(time).replace(tzinfo=None).isoformat() in (time, f"{time}:00")
    except ValueError:
        is_known = False
    return "datetime-local" if is_known else "text"


def draw_form(parameters: Mapping[str, str], names: TraceNames) -> None:
    """Show the form of the filters."""

    def value(name: str) -> str:
        return parameters.get(name, "")

    methods = [short_name(each) for each in names.methods]
    FilterForm(
        PATH,
        [
            FilterField("method", "Method", value("method"), "a part of its name", suggestions=methods, size="wide"),
            choice("service", "Service", value("service"), names.services),
            choice("caller", "Caller", value("caller"), names.callers),
            FilterField("slower_ms", "Slower than (ms)", value("slower_ms"), "any", size="narrow"),
            FilterField("id", "Trace or correlation id", value("id"), "any", size="wide"),
            FilterField("from", "From (UTC)", value("from"), kind=_kind_of(value("from")), size="wide"),
            FilterField("to", "To (UTC)", value("to"), kind=_kind_of(value("to")), size="wide"),
            FilterField("errors", "Only errors", value("errors"), kind="checkbox", size="narrow"),
        ],
    )
