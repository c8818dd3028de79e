"""Local span store: JSON lines in a folder, one file per process, read back as traces."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from interceptors.tracing.interceptor import CORRELATION_ID_ATTRIBUTE
from mesh.config import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan

# A file larger than this is renamed and a new one is started. Only one older file is stored.
MAX_FILE_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class StoredSpan:
    """One span of a trace; times in nanoseconds since the epoch."""

    trace_id: str
    span_id: str
    parent_id: str | None
    service: str
    name: str
    kind: str
    start_ns: int
    end_ns: int
    error: str | None
    correlation_id: str = ""

    @property
    def duration_ms(self) -> float:
        """Duration of the span in milliseconds."""
        return (self.end_ns - self.start_ns) / 1e6


def make_span_folder(folder: Path) -> None:
    """Create the folder of the span store; raise SettingsError if that fails or the folder is not writable."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"SPAN_DIR: {folder} cannot be created: {error.strerror}.") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SettingsError(f"SPAN_DIR: {folder} is not writable.")


class FolderSpanExporter(SpanExporter):
    """Exporter that appends the spans of one process to `<folder>/<service>.jsonl`; raises OSError on a full disk."""

    def __init__(self, folder: Path, service: str) -> None:
        self._path = folder / f"{service}.jsonl"
        self._service = service

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists() and self._path.stat().st_size > MAX_FILE_BYTES:
            self._path.replace(self._path.with_suffix(".old.jsonl"))
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(self._record(span)) + "\n" for span in spans)
        return SpanExportResult.SUCCESS

    def _record(self, span: ReadableSpan) -> dict[str, object]:
        context = span.get_span_context()
        return {
            "trace_id": f"{context.trace_id:032x}" if context else "",
            "span_id": f"{context.span_id:016x}" if context else "",
            "parent_id": f"{span.parent.span_id:016x}" if span.parent else None,
            "service": self._service,
            "name": span.name,
            "kind": span.kind.name,
            "start_ns": span.start_time or 0,
            "end_ns": span.end_time or 0,
            "error": span.status.description if not span.status.is_ok else None,
            "correlation_id": (span.attributes or {}).get(CORRELATION_ID_ATTRIBUTE, ""),
        }


def read_trace(folder: Path, trace_id: str) -> list[StoredSpan]:
    """Return the spans of one trace from the files of all processes, ordered by start."""
    return sorted(_spans(folder, lambda span: span.trace_id == trace_id, trace_id), key=lambda span: span.start_ns)


def traces_of(folder: Path, correlation_id: str) -> list[str]:
    """Return the trace ids of one correlation id, ordered by start."""
    found = _spans(folder, lambda span: span.correlation_id == correlation_id, correlation_id)
    return list(dict.fromkeys(span.trace_id for span in sorted(found, key=lambda span: span.start_ns)))


def latest_traces(folder: Path, number: int) -> list[list[StoredSpan]]:
    """Return the spans of the latest `number` traces, oldest trace first, each trace ordered by start."""
    traces: dict[str, list[StoredSpan]] = {}
    for span in _spans(folder, lambda _span: True):
        traces.setdefault(span.trace_id, []).append(span)
    for spans in traces.values():
        spans.sort(key=lambda span: span.start_ns)
    return sorted(traces.values(), key=lambda spans: spans[0].start_ns)[-number:]


def _spans(folder: Path, is_wanted: Callable[[StoredSpan], bool], text: str = "") -> Iterator[StoredSpan]:
    """Yield the wanted spans of all files."""
    # Most lines belong to other traces. A text search is cheaper than parsing them.
    for line in (line for path in folder.glob("*.jsonl") for line in _whole_lines(path) if text in line):
        try:
            span = StoredSpan(**json.loads(line))
        except (ValueError, TypeError):  # a killed process left half a line, and another process continued it
            continue
        if is_wanted(span):
            yield span


def _whole_lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="replace") as file:
        # The last line may be incomplete because a process is writing it.
        yield from (line for line in file if line.endswith("\n"))


def children_of(spans: Iterable[StoredSpan], parent: StoredSpan | None) -> list[StoredSpan]:
    """Return the spans directly below `parent`, or for None those without a parent among `spans`."""
    spans = list(spans)
    if parent is not None:
        return [span for span in spans if span.parent_id == parent.span_id]
    known = {span.span_id for span in spans}
    return [span for span in spans if span.parent_id not in known]
