"""Details of a call: its times, attributes and events, and the log lines beside it."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any

from nicegui import ui

from console import widgets
from console.pages.traces.elements import clock_time, duration, text
from contracts.names import short_name
from interceptors.access_log import EVENT
from local.log_reader import value_text
from local.log_window import time_of
from operations.addresses import page_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from local.log_reader import LogLine
    from mesh.telemetry.spans import StoredSpan
    from operations.traces.span_logs import SpanLogs
    from operations.traces.waterfall import WaterfallRow

# Fields with a place of their own in a line.
OWN_PLACE = frozenset({"timestamp", "service", "level", "event", "exception", "correlation_id", "trace_id", "logger"})
NO_LINES = (
    "There are none. A command such as solo60 has no log, a quiet method writes no line, and old lines are deleted."
)


def draw_facts(row: WaterfallRow, start_ns: int) -> None:
    """Show the method, the error and the times of a row; `start_ns` is the start of the trace."""
    span = row.span
    text("h2", short_name(span.name.lstrip("/")) if "/" in span.name else span.name)
    if row.error:
        text("p", row.error, "error-text").props("role=alert")
    facts: dict[str, object] = {"hop": row.hop, "kind": span.kind.lower()}
    facts |= {
        "start": f"{clock_time(span.start)}, {duration((span.start_ns - start_ns) / 1e6)} into the trace",
        "duration": duration(span.duration_ms),
    }
    if row.served:
        facts["inside"] = f"{duration(row.served.duration_ms)} in {row.served.service}"
    caller = row.served.caller if row.served else span.caller
    widgets.fact_list((facts | {"caller": caller}).items())


def draw_attributes(row: WaterfallRow, start_ns: int) -> None:
    """Show the events and attributes of both spans of a row; `start_ns` is the start of the trace."""
    spans = [span for span in (row.span, row.served) if span is not None]
    _draw_events(spans, start_ns)
    for span in spans:
        if span.attributes:
            text("h3", f"Attributes of the {span.kind.lower()} span, {span.service}")
            widgets.fact_list({name: value_text(value) for name, value in sorted(span.attributes.items())}.items())


def _draw_events(spans: Iterable[StoredSpan], start_ns: int) -> None:
    events = sorted(((each, span) for span in spans for each in span.events), key=lambda found: found[0].time_ns)
    if not events:
        return
    text("h3", "Events")
    for event, span in events:
        text("p", f"{event.name}, {duration((event.time_ns - start_ns) / 1e6)} into the trace, {span.service}")
        widgets.fact_list({name: value_text(value) for name, value in event.attributes.items()}.items())


def draw_logs(logs: SpanLogs, service: str, correlation_id: str) -> None:
    """Show the log lines beside a call."""
    text("h3", f"Log of {service} during this call")
    if not logs.own and not logs.others:
        text("p", NO_LINES, "note")
    _draw_lines(logs.own)
    if logs.others:
        with ui.element("details"):
            text("summary", f"{len(logs.others)} lines of the same time that belong to no call")
            _draw_lines(logs.others)
    if correlation_id:
        ui.link("Log lines of all services for this request", page_address("logs", correlation=correlation_id))


def _draw_lines(lines: Sequence[LogLine]) -> None:
    with ui.element("div").classes("log-lines"):
        for line in lines:
            level = str(line.facts.get("level", ""))
            with ui.element("div").classes("log-line"):
                at = time_of(line)
                text("span", clock_time(at.astimezone(UTC)) if at else "", "soft")
                if level in widgets.LEVEL_TONES:
                    widgets.badge(level, widgets.LEVEL_TONES[level])
                text("span", _event_of(line.facts), "event")
                text("span", _rest_of(line.facts), "soft")
                if "exception" in line.facts:
                    text("pre", str(line.facts["exception"]))


def _event_of(facts: Mapping[str, Any]) -> str:
    if facts.get("event") != EVENT:
        return str(facts.get("event", ""))
    return f"{short_name(str(facts.get('method', '')))} {facts.get('code', '')}"


def _rest_of(facts: Mapping[str, Any]) -> str:
    shown = OWN_PLACE | ({"method", "code"} if facts.get("event") == EVENT else set())
    return "  ".join(f"{name}={value_text(value)}" for name, value in facts.items() if name not in shown)
