"""Index of traces: a summary of each of the newest traces, within a fixed amount of memory."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from operations.traces.name_pool import NamePool
from operations.traces.summary import TraceSummary, number_of_trace

if TYPE_CHECKING:
    from mesh.telemetry.spans import StoredSpan

MAX_TRACES = 20_000
MAX_BYTES = 24 * 1024 * 1024
# Dropping a few percent at once makes the sorting cheap.
_KEPT_SHARE = 0.95


class TraceIndex:
    """Summaries of the newest traces, at most `max_traces` and about `max_bytes` of memory."""

    def __init__(self, max_traces: int = MAX_TRACES, max_bytes: int = MAX_BYTES) -> None:
        self._max_traces = max_traces
        self._max_bytes = max_bytes
        self._traces: dict[int, TraceSummary] = {}
        self._pool = NamePool()
        self._bytes = 0
        # Start of the newest dropped trace. Without it, a further span of a dropped trace would add the trace again.
        self._dropped_ns = 0

    def __len__(self) -> int:
        return len(self._traces)

    @property
    def size_bytes(self) -> int:
        """Estimated memory of all summaries."""
        return self._bytes

    def add(self, span: StoredSpan) -> None:
        """Add a span to the summary of its trace. A span with an invalid trace id is ignored."""
        trace_id = number_of_trace(span.trace_id)
        summary = self._traces.get(trace_id)
        if summary is None:
            if trace_id == 0 or span.start_ns <= self._dropped_ns:
                return
            summary = self._traces[trace_id] = TraceSummary(trace_id)
            self._bytes += summary.size_bytes
        before = self._pool.new_bytes
        summary.add(span, self._pool)
        added = self._pool.new_bytes - before
        summary.pooled_bytes += added
        self._bytes += added
        if len(self._traces) > self._max_traces or self._bytes > self._max_bytes:
            self._drop_oldest()

    def newest_first(self) -> list[TraceSummary]:
        """Return all summaries, the trace with the latest start first."""
        return sorted(self._traces.values(), key=attrgetter("start_ns"), reverse=True)

    def _drop_oldest(self) -> None:
        by_start = self.newest_first()
        while len(by_start) > _KEPT_SHARE * self._max_traces or self._bytes > _KEPT_SHARE * self._max_bytes:
            oldest = by_start.pop()
            del self._traces[number_of_trace(oldest.trace_id)]
            self._bytes -= oldest.size_bytes
            self._dropped_ns = max(self._dropped_ns, oldest.start_ns)
