"""One trace: its facts, its waterfall, and the details of the chosen call. Spans that arrive later are added."""

from __future__ import annotations

import asyncio
import shlex
from typing import TYPE_CHECKING

from nicegui import ui

from console import widgets
from console.pages.traces.details import draw_attributes, draw_facts, draw_logs
from console.pages.traces.elements import duration, text
from console.pages.traces.filters import PATH
from console.pages.traces.listing import draw_list
from console.pages.traces.waterfall import Axis, Waterfall
from operations.addresses import page_address
from operations.texts import counted, moment
from operations.traces.reader import TracePage, find_traces, summary_of
from operations.traces.span_logs import logs_of_span
from operations.traces.waterfall import waterfall

if TYPE_CHECKING:
    from collections.abc import Sequence

    from console.state import Console
    from mesh.telemetry.spans import StoredSpan
    from operations.traces.summary import TraceSummary
    from operations.traces.waterfall import WaterfallRow

NOT_FOUND_HINT = (
    "A trace is stored within a second of its end; this page looks for it for ten seconds. Each service stores its "
    "latest 16 to 32 MiB of spans, so the oldest traces are deleted."
)


class OneTrace:
    """The trace with this trace id, or the traces with this correlation id. `chosen` is the id of a span to show."""

    def __init__(self, console: Console, trace_id: str, chosen: str) -> None:
        self._console = console
        self._id = trace_id
        self._chosen = chosen
        self._number_of_spans = -1
        self._content = ui.element("div")
        self._summary: TraceSummary | None = None
        self._waterfall: Waterfall | None = None
        self._panel: ui.element | None = None

    async def refresh(self) -> None:
        """Read the spans, and show them if there are new ones."""
        traces = await asyncio.to_thread(find_traces, self._console.settings.local_span_dir, self._id)
        number_of_spans = sum(map(len, traces))
        if number_of_spans == self._number_of_spans:
            return
        self._number_of_spans = number_of_spans
        self._content.clear()
        with self._content:
            if len(traces) == 1:
                await self._draw(traces[0])
            elif traces:
                _draw_choice(traces)
            else:
                widgets.empty_state(f"There is no trace {self._id}.", NOT_FOUND_HINT)
                ui.link("Latest traces", PATH).classes("below")

    async def _draw(self, spans: Sequence[StoredSpan]) -> None:
        self._summary = summary_of(spans)
        _draw_summary(self._summary)
        rows = waterfall(spans)
        with ui.element("div").classes("trace"):
            self._waterfall = Waterfall(rows, Axis.of(spans), self._choose)
            self._panel = ui.element("section").classes("card details").props('aria-label="Details of the call"')
        await self._show(_first_of_interest(rows, self._chosen))

    async def _choose(self, row: WaterfallRow) -> None:
        # The address then leads a colleague to this call.
        ui.navigate.history.replace(page_address("traces", row.span.trace_id, span=row.span.span_id))
        await self._show(row)

    async def _show(self, row: WaterfallRow) -> None:
        if self._summary is None or self._waterfall is None or self._panel is None:
            return
        self._chosen = row.span.span_id
        self._waterfall.mark(row)
        panel, summary = self._panel, self._summary
        panel.clear()
        with panel:
            draw_facts(row, summary.start_ns)
            log_box = ui.element("div")
            draw_attributes(row, summary.start_ns)
        served = row.served or row.span
        logs = await asyncio.to_thread(logs_of_span, self._console.settings.log_folder, served, summary.correlation_id)
        if not log_box.is_deleted:  # else another call was chosen meanwhile
            with log_box:
                draw_logs(logs, served.service, served.correlation_id or summary.correlation_id)


def _first_of_interest(rows: Sequence[WaterfallRow], chosen: str) -> WaterfallRow:
    """Return the row of a span id, or else the deepest failed call, or else the first row."""
    for row in rows:
        if chosen and chosen in (row.span.span_id, row.served.span_id if row.served else ""):
            return row
    failed = [row for row in rows if row.error]
    return max(failed, key=lambda row: row.depth) if failed else rows[0]


def _draw_summary(summary: TraceSummary) -> None:
    text("p", summary.name, "trace-name")
    with ui.element("div").classes("row-line"):
        text("span", moment(summary.start, milliseconds=True))
        widgets.badge(duration(summary.duration_ms))
        widgets.badge(counted(summary.calls, "call"))
        if summary.errors:
            widgets.badge(counted(summary.errors, "error"), "bad")
        if summary.caller:
            text("span", f"called by {summary.caller}", "soft")
        if summary.correlation_id:
            target = page_address("traces", id=summary.correlation_id)
            ui.link("traces of the same request", target).props["title"] = summary.correlation_id
            ui.link("logs", page_address("logs", correlation=summary.correlation_id))
    # A reader pastes the command into a shell, and a damaged span file may have any text as an id.
    widgets.command(f"solo60 trace {shlex.quote(summary.trace_id)}")


def _draw_choice(traces: Sequence[Sequence[StoredSpan]]) -> None:
    text("p", f"{len(traces)} traces have this correlation id.", "note")
    found = TracePage([summary_of(spans) for spans in reversed(traces)], len(traces))
    draw_list(found, {}, 1)
