"""List of the latest traces. It does not move while somebody reads it, and links to newer traces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nicegui import ui

from console import widgets
from console.pages.traces.elements import text
from console.pages.traces.filters import address_of
from console.pages.traces.listing import PAGE_SIZE, draw_list
from operations.texts import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from console.state import Console
    from operations.traces.filter import TraceFilter

NO_TRACES_HINT = (
    "Make a call, for example: solo60 call gym.ListGyms\n"
    "A trace is listed within a second of its end. Calls of `solo60` are always recorded, and calls of other programs "
    "if they record them, or with the probability TRACE_SAMPLE_RATIO. Calls that fail by a fault of a service, or take "
    "longer than TRACE_SLOW_S, are always recorded."
)


class LatestTraces:
    """Page `number` of the traces that meet `wanted`, which is the filter of the address `parameters`."""

    def __init__(self, console: Console, parameters: Mapping[str, str], wanted: TraceFilter, number: int) -> None:
        self._console = console
        self._parameters = parameters
        self._wanted = wanted
        self._number = number
        self._is_complete = False
        self._number_of_spans = 0
        self._newest_ns = 0
        self._news = ui.element("div").props("role=status")
        self._content = ui.element("div")

    def draw(self, *, is_complete: bool) -> None:
        """Show the traces that are read so far; `is_complete` is False while older ones are missing."""
        self._is_complete = is_complete
        self._number_of_spans = self._console.traces.number_of_spans
        found = self._console.traces.page(self._wanted, PAGE_SIZE, (self._number - 1) * PAGE_SIZE)
        self._newest_ns = found.traces[0].start_ns if found.traces else 0
        self._content.clear()
        with self._content:
            if not is_complete:
                text("p", "The stored spans are still being read. The list is complete in a moment.", "note")
            if found.traces:
                draw_list(found, self._parameters, self._number)
            elif is_complete:
                self._draw_nothing(found.total)

    def _draw_nothing(self, total: int) -> None:
        if total:
            widgets.empty_state(f"There is no page {self._number}.", f"The list has {total:,} traces.")
            ui.link("First page", address_of(self._parameters)).classes("below")
        elif self._parameters:
            widgets.empty_state("No stored trace meets these conditions.", "Change a condition, or clear all of them.")
        else:
            widgets.empty_state("There are no traces yet.", NO_TRACES_HINT)

    async def refresh(self) -> None:
        """Look for new spans. An empty or incomplete list is drawn again, and any other gets a link to newer traces."""
        await self._console.new_spans.get()
        number_of_spans = self._console.traces.number_of_spans
        if not self._is_complete or (not self._newest_ns and number_of_spans != self._number_of_spans):
            self.draw(is_complete=True)
        elif number_of_spans != self._number_of_spans and self._number == 1:
            self._number_of_spans = number_of_spans
            self._draw_news()

    def _draw_news(self) -> None:
        latest = self._console.traces.page(self._wanted, PAGE_SIZE).traces
        newer = sum(trace.start_ns > self._newest_ns for trace in latest)
        self._news.clear()
        if newer:
            count = counted(newer, "newer trace")
            with self._news:
                shown = count if newer < PAGE_SIZE else f"{count} or more"
                ui.link(f"Show {shown}", address_of(self._parameters)).classes("news")
