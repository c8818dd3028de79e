"""Filters of the list of traces: parameters of the page's address, and the form that sets them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from nicegui import ui

from console.pages.traces.elements import text
from contracts.names import short_name
from mesh.failure import Failure
from operations.addresses import page_address
from operations.traces.filter import TraceFilter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from operations.traces.reader import TraceNames

PATH = "/traces"
PARAMETERS = ("method", "service", "caller", "slower_ms", "errors", "id", "from", "to")
# A browser submits the whole form. Without the empty fields, the address is short.
SUBMIT_FILLED_FIELDS = """(event) => {
  const empty = [...event.currentTarget.elements].filter((each) => each.name && !each.value);
  empty.forEach((each) => { each.disabled = true; });
  setTimeout(() => empty.forEach((each) => { each.disabled = false; }));
}"""
# A text or a time is complete with the Enter key or the button.
SUBMIT_CHOICE = """(event) => {
  if (event.target.matches("select, [type=checkbox]")) event.currentTarget.requestSubmit();
}"""


class BadFilter(Failure):
    """A parameter of the address is invalid; the message names it."""


def parameters_of(query: Mapping[str, str]) -> dict[str, str]:
    """Return the filled parameters of the filters. Pages about one request call the id `correlation`."""
    query = {"id": query.get("correlation", ""), **query}
    return {name: query[name].strip() for name in PARAMETERS if query.get(name, "").strip()}


def filter_of(parameters: Mapping[str, str]) -> TraceFilter:
    """Return the filter of an address; raise BadFilter if a parameter is invalid."""
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
    """Return the number of a page, from 1; raise BadFilter if it is invalid."""
    if not value.isdecimal() or not 0 < int(value[:9]) < 10**8:
        raise BadFilter("page: the number of a page is 1 or more.")
    return int(value)


def _milliseconds(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise BadFilter("slower_ms: give milliseconds, such as 100.")
    return number


def _time(name: str, value: str) -> datetime | None:
    if not value:
        return None
    try:
        at = datetime.fromisoformat(value)
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise BadFilter(f"{name}: give a time in UTC, such as 2026-11-29T08:15.") from None


def draw_form(parameters: Mapping[str, str], names: TraceNames) -> None:
    """Show the form. It leads to the address with the filters."""
    with (
        ui.element("form")
        .props(f'action="{PATH}" method=get aria-label="Filter the traces"')
        .classes("filters trace-filters")
        .on("submit", js_handler=SUBMIT_FILLED_FIELDS)
        .on("change", js_handler=SUBMIT_CHOICE)
    ):
        with _field("method"):
            _input("method", parameters, 'list=trace-methods placeholder="any, or a part of its name"')
            with ui.element("datalist").props("id=trace-methods"):
                for each in names.methods:
                    ui.element("option").props["value"] = short_name(each)
        with _field("service"):
            _select("service", parameters, names.services)
        with _field("caller"):
            _select("caller", parameters, names.callers)
        with _field("slower than (ms)"):
            _input("slower_ms", parameters, "inputmode=decimal placeholder=any").classes("short")
        with _field("trace or correlation id"):
            _input("id", parameters, 'placeholder=any spellcheck="false"').classes("mono")
        with ui.element("div").classes("period"):
            for name in ("from", "to"):
                with _field(f"{name} (UTC)"):
                    _input(name, parameters, "type=datetime-local step=1 max=9999-12-31T23:59:59")
        with ui.element("label").classes("check"):
            box = ui.element("input").props("type=checkbox name=errors value=1")
            box.props["defaultChecked"] = bool(parameters.get("errors"))
            text("span", "only errors")
        with ui.element("div").classes("choices"):
            ui.button("Filter").props("type=submit outline dense no-caps")
            if parameters:
                ui.link("Clear", PATH)


def _field(name: str) -> ui.element:
    field = ui.element("label")
    with field:
        text("span", name)
    return field


def _input(name: str, parameters: Mapping[str, str], props: str) -> ui.element:
    field = ui.element("input").props(f"name={name} autocomplete=off {props}")
    # The property `value` would be set again whenever the page changes, and replace what the reader types.
    field.props["defaultValue"] = parameters.get(name, "")
    return field


def _select(name: str, parameters: Mapping[str, str], choices: Iterable[str]) -> None:
    chosen = parameters.get(name, "")
    with ui.element("select").props(f"name={name}"):
        text("option", "any").props["value"] = ""
        for each in sorted({*choices, chosen} - {""}):
            option = text("option", each)
            option.props["value"] = each
            option.props["selected"] = each == chosen
