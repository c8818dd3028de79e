"""Table of the latest traces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nicegui import ui

from console.pages.traces.elements import duration, text
from console.pages.traces.filters import address_of
from operations.addresses import page_address
from operations.texts import moment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from operations.traces.reader import TracePage
    from operations.traces.summary import TraceSummary

PAGE_SIZE = 50
SHORT_ID_LENGTH = 8


def draw_list(page: TracePage, parameters: Mapping[str, str], number: int) -> None:
    """Show page `number` of a list of traces, with links to its neighbours."""
    slowest_ms = max((trace.duration_ms for trace in page.traces), default=0.0)
    with ui.element("div").classes("scroll"), ui.element("table").classes("rows traces"):
        with ui.element("thead"), ui.element("tr"):
            for heading, classes in HEADINGS.items():
                text("th", heading, classes).props("scope=col")
        with ui.element("tbody"):
            for trace in page.traces:
                with ui.element("tr").classes("failed" if trace.errors else ""):
                    _draw_row(trace, slowest_ms)
    _draw_pager(page, parameters, number)


# Each heading with the classes of its column.
HEADINGS = {
    "start": "",
    "request": "wide",
    "caller": "",
    "duration": "number",
    "calls": "number",
    "errors": "number",
    "trace": "optional",
}


def _draw_row(trace: TraceSummary, slowest_ms: float) -> None:
    text("td", moment(trace.start, milliseconds=True), "start")
    with ui.element("td").classes("wide"):
        ui.link(trace.name, page_address("traces", trace.trace_id))
        text("div", ", ".join(trace.services), "soft small")
    text("td", trace.caller)
    with ui.element("td").classes("number"):
        text("div", duration(trace.duration_ms))
        share = 100 * trace.duration_ms / slowest_ms if slowest_ms > 0 else 0
        ui.element("div").classes("share").style(f"width: {min(max(share, 1), 100):.1f}%")
    text("td", str(trace.calls), "number")
    text("td", str(trace.errors or ""), "number bad")
    with ui.element("td").classes("optional"):
        text("span", trace.trace_id[:SHORT_ID_LENGTH], "mono soft").props["title"] = trace.trace_id


def _draw_pager(page: TracePage, parameters: Mapping[str, str], number: int) -> None:
    first = (number - 1) * PAGE_SIZE + 1
    with ui.element("nav").classes("pager").props('aria-label="Pages of traces"'):
        text("span", f"{first:,} to {first + len(page.traces) - 1:,} of {page.total:,} traces", "soft")
        if number > 1:
            ui.link("Newer", address_of(parameters, number - 1)).props("rel=prev")
        if first + len(page.traces) <= page.total:
            ui.link("Older", address_of(parameters, number + 1)).props("rel=next")
