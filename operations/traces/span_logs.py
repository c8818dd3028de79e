"""Log lines that a service wrote while it served a call."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING

from interceptors.access_log import EVENT
from local.log_reader import services_with_logs
from local.log_window import lines_between, time_of

if TYPE_CHECKING:
    from pathlib import Path

    from local.log_reader import LogLine
    from mesh.telemetry.spans import StoredSpan

# A service writes its access log a moment after the end of the span.
AFTER_END = timedelta(milliseconds=200)
MAX_LINES = 200
# A stream may last for hours.
MAX_SCANNED_LINES = 20_000


@dataclass(frozen=True, slots=True)
class SpanLogs:
    """Log lines beside a span, at most MAX_LINES in each list.

    `own` are the lines of the span's call: those with its correlation id, and of access lines only that of its method.
    `others` are the lines of the same service and time that belong to no call.
    """

    own: list[LogLine]
    others: list[LogLine]


def logs_of_span(folder: Path, span: StoredSpan, correlation_id: str) -> SpanLogs:
    """Return the log lines beside a span. `correlation_id` is that of the trace, for a span without its own."""
    start, end = span.start, span.end
    correlation_id = span.correlation_id or correlation_id
    found = SpanLogs([], [])
    if span.service not in services_with_logs(folder):  # the name is part of a path
        return found
    for line in islice(lines_between(folder, span.service, start, end + AFTER_END), MAX_SCANNED_LINES):
        if line.correlation_id and line.correlation_id == correlation_id:
            if not _is_of_other_method(line, span):
                found.own.append(line)
        elif not line.correlation_id and (time_of(line) or start) <= end:
            found.others.append(line)
    return SpanLogs(found.own[:MAX_LINES], found.others[:MAX_LINES])


def _is_of_other_method(line: LogLine, span: StoredSpan) -> bool:
    """Return whether a line of the access log is about a parallel call of the same request."""
    return line.facts.get("event") == EVENT and line.facts.get("method") != span.name.lstrip("/")
