"""Traces in the local span store: the latest ones by filter, page by page, and one trace with all of its spans."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from mesh.failure import Failure
from mesh.telemetry.spans import StoredSpan, read_trace, traces_of
from operations.traces.index import TraceIndex
from operations.traces.name_pool import NamePool
from operations.traces.span_follower import SpanFollower
from operations.traces.summary import TraceSummary, number_of_trace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from operations.traces.filter import TraceFilter


class UnreadableSpans(Failure):
    """The files of the local span store cannot be read; the message names the reason."""


@dataclass(frozen=True, slots=True)
class TracePage:
    """Page of a list of traces, and the number of all traces in the list."""

    traces: Sequence[TraceSummary]
    total: int


class TraceReader:
    """Reader of a span folder, for any number of threads.

    `update` reads the spans that were added since its last call. Everything else returns the state that is read so far.
    `number_of_spans` is the number of spans that are read so far.
    """

    def __init__(self, folder: Path, index: TraceIndex | None = None) -> None:
        self.folder = folder
        self._index = index or TraceIndex()
        self._follower = SpanFollower(folder)
        self.number_of_spans = 0
        self._is_closing = False
        self._update_lock = Lock()
        # Held for the time of one block, so that readers wait for a few milliseconds at most.
        self._index_lock = Lock()

    def close(self) -> None:
        """End a running update, and close all files."""
        self._is_closing = True
        with self._update_lock:
            self._follower.close()

    def update(self) -> int:
        """Read the new spans; return their number. The first call takes about 1 s for 100 MB of spans.

        Raises UnreadableSpans.
        """
        before = self.number_of_spans
        with self._update_lock, _readable(self.folder):
            for lines in self._follower.new_blocks():
                if self._is_closing:
                    break
                with self._index_lock:
                    for span in filter(None, map(StoredSpan.parse, lines)):
                        self._index.add(span)
                        self.number_of_spans += 1
        return self.number_of_spans - before

    def page(self, wanted: TraceFilter, number: int, offset: int = 0) -> TracePage:
        """Return at most `number` traces, the latest first, after the first `offset` ones."""
        found = [trace for trace in self._newest_first() if wanted.matches(trace)]
        return TracePage(found[offset : offset + number], len(found))

    def names(self) -> TraceNames:
        """Return the names in all traces, for the choice of a filter."""
        traces = self._newest_first()
        return TraceNames(
            methods=sorted({name for names in {trace.methods for trace in traces} for name in names}),
            services=sorted({name for names in {trace.services for trace in traces} for name in names}),
            callers=sorted({trace.caller for trace in traces} - {""}),
        )

    def _newest_first(self) -> list[TraceSummary]:
        with self._index_lock:
            return self._index.newest_first()


@dataclass(frozen=True, slots=True)
class TraceNames:
    """Names in a list of traces, in alphabetical order."""

    methods: Sequence[str]
    services: Sequence[str]
    callers: Sequence[str]


def summary_of(spans: Sequence[StoredSpan]) -> TraceSummary:
    """Return the summary of one trace, from all of its spans."""
    summary, pool = TraceSummary(number_of_trace(spans[0].trace_id)), NamePool()
    for span in spans:
        summary.add(span, pool)
    return summary


def find_traces(folder: Path, trace_id: str) -> list[list[StoredSpan]]:
    """Return the spans of the trace with this id, and of all traces with this correlation id.

    Each trace is ordered by start. Reads all files, which takes about 35 ms for 100 MB. Raises UnreadableSpans.
    """
    with _readable(folder):
        ids = dict.fromkeys((trace_id.lower(), *traces_of(folder, trace_id)))
        return [spans for spans in (read_trace(folder, each) for each in ids) if spans]


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnreadableSpans(f"SPAN_DIR: {error.filename or folder} cannot be read: {error.strerror}.") from None
