"""Waterfall: one row per call, with its bar on the time axis of the trace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nicegui import ui

from console.pages.traces.elements import duration, text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mesh.telemetry.spans import StoredSpan
    from operations.traces.waterfall import WaterfallRow

MAX_ROWS = 300
MAX_INDENT = 12
TICKS = 2
# A bar must be wide enough to be seen.
MIN_WIDTH = 0.4


@dataclass(frozen=True, slots=True)
class Axis:
    """Time axis of a trace: its start and its length in nanoseconds."""

    start_ns: int
    length_ns: int

    @classmethod
    def of(cls, spans: Sequence[StoredSpan]) -> Axis:
        """Return the axis from the first start to the last end."""
        start_ns = min(span.start_ns for span in spans)
        return cls(start_ns, max(max(span.end_ns for span in spans) - start_ns, 1))

    def style(self, span: StoredSpan) -> str:
        """Return the place of a span's bar on the axis, as CSS."""
        left = 100 * (span.start_ns - self.start_ns) / self.length_ns
        width = 100 * (span.end_ns - span.start_ns) / self.length_ns
        left = min(max(left, 0.0), 100 - MIN_WIDTH)
        return f"left: {left:.3f}%; width: {min(max(width, MIN_WIDTH), 100 - left):.3f}%"


class Waterfall:
    """Rows of a trace. A click on a row calls `choose` with it; `mark` shows a row as the chosen one."""

    def __init__(self, rows: Sequence[WaterfallRow], axis: Axis, choose: Callable[[WaterfallRow], object]) -> None:
        self._axis = axis
        self._choose = choose
        self._buttons: dict[str, ui.element] = {}
        self._chosen: ui.element | None = None
        with ui.element("section").classes("waterfall").props('aria-label="Calls of the trace"'):
            self._draw_axis()
            for row in rows[:MAX_ROWS]:
                self._draw_row(row)
        if len(rows) > MAX_ROWS:
            note = f"These are the first {MAX_ROWS} of {len(rows):,} calls. All: solo60 trace {rows[0].span.trace_id}"
            text("p", note, "note")

    def mark(self, row: WaterfallRow) -> None:
        """Show a row as the chosen one."""
        if self._chosen is not None:
            self._chosen.classes(remove="chosen").props("aria-pressed=false")
        self._chosen = self._buttons.get(row.span.span_id)
        if self._chosen is not None:
            self._chosen.classes("chosen").props("aria-pressed=true")

    def _draw_axis(self) -> None:
        with ui.element("div").classes("axis").props("aria-hidden=true"):
            text("span", "call")
            text("span", "time", "ms")
            with ui.element("span").classes("track"):
                for tick in range(TICKS + 1):
                    at = duration(self._axis.length_ns / 1e6 * tick / TICKS) if tick else "0"
                    text("span", at, "tick" if tick < TICKS else "tick last").style(f"left: {100 * tick / TICKS:g}%")

    def _draw_row(self, row: WaterfallRow) -> None:
        button = ui.element("button").props("type=button aria-pressed=false").on("click", lambda: self._choose(row), [])
        self._buttons[row.span.span_id] = button
        with button.classes("call" + (" failed" if row.error else "")):
            with ui.element("span").classes("name").style(f"padding-left: {14 * min(row.depth, MAX_INDENT)}px"):
                text("span", row.hop, "hop")
                text("span", row.label)
            with ui.element("span").classes("ms"):
                text("span", duration(row.span.duration_ms))
                if row.served:
                    text("span", f"{duration(row.served.duration_ms)} inside", "soft")
            with ui.element("span").classes("track"):
                ui.element("span").classes("bar").style(self._axis.style(row.span))
                if row.served:
                    ui.element("span").classes("bar inside").style(self._axis.style(row.served))
