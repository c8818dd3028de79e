"""Local span store: JSON lines in a folder, one file per service, read back as traces."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Self

import orjson
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from mesh.config import SettingsError
from mesh.telemetry.log_lines import json_line
from mesh.telemetry.span_files import SUFFIX, append_lines, open_files, services_with_spans
from mesh.telemetry.span_records import record_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from opentelemetry.sdk.trace import ReadableSpan

BLOCK_BYTES = 1024 * 1024
# Kinds of spans: of a call at its caller, and of the same call at its server.
CLIENT, SERVER = "CLIENT", "SERVER"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """Event in a span; time in nanoseconds since the epoch."""

    name: str
    time_ns: int
    attributes: dict[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class StoredSpan:
    """One span of a trace; times in nanoseconds since the epoch.

    `caller` is the owner of the API key of a served call. Values that may be personal data are masked in `attributes`
    and in `events`.
    """

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
    caller: str = ""
    attributes: dict[str, Any] = field(default_factory=dict, hash=False)
    events: tuple[StoredEvent, ...] = ()

    @property
    def start(self) -> datetime:
        """Start of the span, in UTC."""
        return time_of_ns(self.start_ns)

    @property
    def end(self) -> datetime:
        """End of the span, in UTC."""
        return time_of_ns(self.end_ns)

    @property
    def duration_ms(self) -> float:
        """Duration of the span in milliseconds."""
        return (self.end_ns - self.start_ns) / 1e6

    @classmethod
    def parse(cls, line: bytes) -> Self | None:
        """Parse one line of a span file; return None if the line is not a span.

        Keys of a newer version are ignored. Keys that an older version did not write get their default.
        """
        try:
            facts = orjson.loads(line)
            required = _required_values(facts)
        except (orjson.JSONDecodeError, KeyError, TypeError):  # half a line of a killed process, or no span
            return None
        if tuple(map(type, required)) != _REQUIRED_TYPES:
            return None
        trace_id, span_id, service, name, kind, start_ns, end_ns = required
        return cls(
            trace_id,
            span_id,
            _text_or_none(facts.get("parent_id")),
            service,
            name,
            kind,
            start_ns,
            end_ns,
            _text_or_none(facts.get("error")),
            _text_or_none(facts.get("correlation_id")) or "",
            _text_or_none(facts.get("caller")) or "",
            _dict_or_empty(facts.get("attributes")),
            tuple(_events(facts["events"])) if facts.get("events") else (),
        )


_required_values = itemgetter("trace_id", "span_id", "service", "name", "kind", "start_ns", "end_ns")
_REQUIRED_TYPES = (str, str, str, str, str, int, int)


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _dict_or_empty(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _events(values: object) -> Iterator[StoredEvent]:
    for each in values if isinstance(values, list) else ():
        if isinstance(each, dict) and isinstance(each.get("name"), str) and isinstance(each.get("time_ns"), int):
            yield StoredEvent(each["name"], each["time_ns"], _dict_or_empty(each.get("attributes")))


def time_of_ns(time_ns: int) -> datetime:
    """Return a time in nanoseconds since the epoch, rounded down to microseconds as times in logs are."""
    return _EPOCH + timedelta(microseconds=time_ns // 1_000)


def make_span_folder(folder: Path) -> None:
    """Create the folder of the span store; raise SettingsError if that fails or the folder is not writable."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"SPAN_DIR: {folder} cannot be created: {error.strerror}.") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SettingsError(f"SPAN_DIR: {folder} is not writable.")


class FolderSpanExporter(SpanExporter):
    """Exporter that appends spans to `<folder>/<service>.jsonl`; raises OSError on a full disk.

    Several processes of a service may share the file. `record_of` gives the form of a line.
    """

    def __init__(self, folder: Path, service: str) -> None:
        self._path = folder / f"{service}{SUFFIX}"
        self._service = service

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        append_lines(self._path, b"".join(json_line(record_of(span, self._service)) for span in spans))
        return SpanExportResult.SUCCESS


def read_trace(folder: Path, trace_id: str) -> list[StoredSpan]:
    """Return the spans of one trace from the files of all services, ordered by start."""
    spans = (span for span in _spans_with(folder, trace_id) if span.trace_id == trace_id)
    return sorted(spans, key=lambda span: span.start_ns)


def traces_of(folder: Path, correlation_id: str) -> list[str]:
    """Return the trace ids of one correlation id, ordered by start."""
    found = [span for span in _spans_with(folder, correlation_id) if span.correlation_id == correlation_id]
    return list(dict.fromkeys(span.trace_id for span in sorted(found, key=lambda span: span.start_ns)))


def _spans_with(folder: Path, text: str) -> Iterator[StoredSpan]:
    """Yield the spans of all files with `text` anywhere in their lines; none if `text` is empty."""
    wanted = text.encode(errors="replace")
    for service in services_with_spans(folder) if wanted else ():
        for opened in open_files(folder, service):
            with opened as file:
                # Most lines belong to other traces. A text search is cheaper than parsing them.
                yield from filter(None, map(StoredSpan.parse, _lines_with(file, wanted)))


def _lines_with(file: BinaryIO, text: bytes) -> Iterator[bytes]:
    """Yield the complete lines of a file that contain `text`."""
    rest = b""
    while block := file.read(BLOCK_BYTES):
        data = rest + block
        end = data.rfind(b"\n") + 1
        rest = data[end:]
        found = data.find(text, 0, end)
        while found >= 0:
            line_end = data.index(b"\n", found)
            yield data[data.rfind(b"\n", 0, found) + 1 : line_end]
            found = data.find(text, line_end, end)


def children_of(spans: Iterable[StoredSpan], parent: StoredSpan | None) -> list[StoredSpan]:
    """Return the spans directly below `parent`, or for None those without a parent among `spans`."""
    spans = list(spans)
    if parent is not None:
        return [span for span in spans if span.parent_id == parent.span_id]
    known = {span.span_id for span in spans}
    return [span for span in spans if span.parent_id not in known]
