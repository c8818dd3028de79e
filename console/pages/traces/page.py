"""Pages `/traces` and `/traces/{trace_id}`: the latest traces, and one trace with its calls and their logs."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from nicegui import ui

from console.frame import page
from console.pages.traces.elements import add_stylesheet
from console.pages.traces.filters import PATH, draw_form, filter_of, page_number, parameters_of
from console.pages.traces.latest import LatestTraces
from console.pages.traces.one_trace import OneTrace

if TYPE_CHECKING:
    from console.frame import View

# A page shows the traces that are read so far after this time.
FIRST_READ_S = 0.3
REFRESH_LIST_S = 2.0
# The spans of a trace arrive within a second of its end, so a page that is opened earlier looks again.
REFRESH_TRACE_S = 1.0
REFRESHED_FOR_S = 10.0


@page(PATH, "Traces")
async def traces(view: View) -> None:
    """Show the latest traces that meet the filters in the address."""
    add_stylesheet()
    is_complete = await _has_read_all(view)
    parameters = parameters_of(view.request.query_params)
    draw_form(parameters, view.console.traces.names())
    latest = LatestTraces(view.console, parameters, filter_of(parameters), page_number(view.query("page", "1")))
    latest.draw(is_complete=is_complete)
    ui.timer(REFRESH_LIST_S, latest.refresh, immediate=False)


async def _has_read_all(view: View) -> bool:
    """Wait FIRST_READ_S for the new spans; return whether all of them are read."""
    with suppress(TimeoutError):
        await asyncio.wait_for(view.console.new_spans.get(), FIRST_READ_S)
        return True
    return False


@page(PATH + "/{trace_id}", "Trace")
async def trace(view: View, trace_id: str) -> None:
    """Show the trace with a trace id, or the traces with a correlation id."""
    add_stylesheet()
    one = OneTrace(view.console, trace_id.strip(), view.query("span"))
    await one.refresh()
    again = ui.timer(REFRESH_TRACE_S, one.refresh, immediate=False)
    ui.timer(REFRESHED_FOR_S, again.deactivate, once=True)
