from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

import mesh.telemetry.span_files
import mesh.telemetry.spans
from mesh.telemetry.spans import FolderSpanExporter, StoredEvent, StoredSpan, children_of, read_trace, traces_of

if TYPE_CHECKING:
    from pathlib import Path

    from opentelemetry.trace import Tracer


def tracer_of(folder: Path, service: str) -> Tracer:
    """Return a tracer that writes its spans to the folder at once."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(FolderSpanExporter(folder, service)))
    return provider.get_tracer("test")


def one_trace(folder: Path) -> str:
    """Make a trace across two services; return its id."""
    session, gym = tracer_of(folder, "session"), tracer_of(folder, "gym")
    with session.start_as_current_span("book", kind=SpanKind.SERVER) as root:
        with session.start_as_current_span("quote", kind=SpanKind.CLIENT), gym.start_as_current_span("serve quote"):
            pass
        with session.start_as_current_span("charge") as failed:
            failed.set_status(Status(StatusCode.ERROR, "Declined."))
    return f"{root.get_span_context().trace_id:032x}"


@pytest.mark.requirement("S5")
def test_a_trace_is_read_back_from_all_processes(tmp_path: Path) -> None:
    """A trace is read from the files of all services, in the order in which its spans began.

    Spans of other traces are omitted.
    """
    trace_id = one_trace(tmp_path / "spans")
    one_trace(tmp_path / "spans")

    spans = read_trace(tmp_path / "spans", trace_id)

    assert [(span.service, span.name) for span in spans] == [
        ("session", "book"),
        ("session", "quote"),
        ("gym", "serve quote"),
        ("session", "charge"),
    ]
    assert {span.trace_id for span in spans} == {trace_id}
    assert [span.error for span in spans] == [None, None, None, "Declined."]
    assert (spans[0].kind, spans[0].parent_id) == ("SERVER", None)
    assert spans[0].duration_ms >= spans[1].duration_ms >= 0


@pytest.mark.requirement("S5")
def test_the_spans_form_a_tree(tmp_path: Path) -> None:
    """The spans of a trace form a tree across services."""
    spans = read_trace(tmp_path, one_trace(tmp_path))

    [root] = children_of(spans, None)

    assert [span.name for span in children_of(spans, root)] == ["quote", "charge"]
    assert [span.name for span in children_of(spans, spans[1])] == ["serve quote"]
    assert children_of(spans, spans[2]) == []


@pytest.mark.requirement("S5")
def test_a_span_without_a_recorded_parent_is_a_root(tmp_path: Path) -> None:
    """A span is a root if its parent is not recorded, for example because the caller is outside the mesh."""
    spans = read_trace(tmp_path, one_trace(tmp_path))[1:]

    assert [span.name for span in children_of(spans, None)] == ["quote", "charge"]


@pytest.mark.requirement("S5")
def test_an_unfinished_line_is_skipped(tmp_path: Path) -> None:
    """An unfinished line is skipped, so that traces can be read while services run."""
    trace_id = one_trace(tmp_path)
    with (tmp_path / "gym.jsonl").open("a") as file:
        file.write(f'{{"trace_id": "{trace_id}", "span')

    assert len(read_trace(tmp_path, trace_id)) == 4


def test_a_corrupt_line_is_skipped(tmp_path: Path) -> None:
    """A corrupt line is skipped, such as one that a killed process began and the next process continued."""
    trace_id = one_trace(tmp_path)
    with (tmp_path / "gym.jsonl").open("ab") as file:
        file.write(f'{{"trace_id": "{trace_id}", "sp{{"trace_id": "{trace_id}"}}\n'.encode() + b'"\xff"\n5\n')

    assert len(read_trace(tmp_path, trace_id)) == 4


def test_traces_are_found_by_their_correlation_id(tmp_path: Path) -> None:
    """Traces are found by their exact correlation id."""
    tracer = tracer_of(tmp_path, "gym")
    expected = []
    for _ in range(2):
        with tracer.start_as_current_span("serve", attributes={"solo60.correlation_id": "order-17"}) as span:
            expected.append(f"{span.get_span_context().trace_id:032x}")
    one_trace(tmp_path)

    assert traces_of(tmp_path, "order-17") == expected
    assert traces_of(tmp_path, "order-1") == []
    assert {span.correlation_id for span in read_trace(tmp_path, expected[0])} == {"order-17"}


@pytest.mark.requirement("S5")
def test_a_span_file_is_rotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A span file is rotated at its largest size. The one older file is still read."""
    trace_id = one_trace(tmp_path)
    size = (tmp_path / "session.jsonl").stat().st_size
    monkeypatch.setattr(mesh.telemetry.span_files, "MAX_FILE_BYTES", size - 1)

    for _ in range(3):
        later = one_trace(tmp_path)

    assert read_trace(tmp_path, trace_id) != read_trace(tmp_path, later)
    assert len(read_trace(tmp_path, later)) == 4
    assert {path.name for path in tmp_path.glob("session*")} == {"session.jsonl", "session.old.jsonl"}
    assert (tmp_path / "session.jsonl").stat().st_size <= 2 * size


@pytest.mark.requirement("S5")
@pytest.mark.parametrize("trace_id", ["", "0" * 32])
def test_an_unknown_trace_has_no_spans(tmp_path: Path, trace_id: str) -> None:
    """An unknown or incomplete trace id has no spans, also before any trace was recorded."""
    assert read_trace(tmp_path, trace_id) == []

    known = one_trace(tmp_path)

    assert read_trace(tmp_path, trace_id) == []
    assert read_trace(tmp_path, known[:8]) == []


def test_a_span_is_read_with_its_attributes_and_events(tmp_path: Path) -> None:
    """Attributes, events and the caller of a span are stored. The caller and the correlation id are no attributes."""
    attributes = {"solo60.caller": "session", "solo60.correlation_id": "order-17", "rpc.status_code": "OK"}
    with tracer_of(tmp_path, "gym").start_as_current_span("serve", attributes=attributes) as span:
        span.add_event("retry", {"solo60.attempt": 2}, timestamp=1_700_000_000_000_000_000)

    [stored] = read_trace(tmp_path, f"{span.get_span_context().trace_id:032x}")

    assert (stored.caller, stored.correlation_id) == ("session", "order-17")
    assert stored.attributes == {"rpc.status_code": "OK"}
    assert stored.events == (StoredEvent("retry", 1_700_000_000_000_000_000, {"solo60.attempt": 2}),)


OLD_LINE = {
    "trace_id": "1" * 32,
    "span_id": "2" * 16,
    "parent_id": None,
    "service": "gym",
    "name": "solo60.gym.v1.GymService/GetGym",
    "kind": "SERVER",
    "start_ns": 1,
    "end_ns": 2,
    "error": None,
    "correlation_id": "order-17",
}


def test_lines_of_other_versions_are_read() -> None:
    """A line of an older version lacks attributes and events. Further keys of a newer version are ignored."""
    old = StoredSpan.parse(json.dumps(OLD_LINE).encode())
    new = StoredSpan.parse(json.dumps({**OLD_LINE, "links": [{"trace_id": "3" * 32}]}).encode())

    assert old is not None
    assert old == new
    assert (old.correlation_id, old.caller, old.attributes, old.events) == ("order-17", "", {}, ())


@pytest.mark.parametrize(
    "change",
    [{key: None} for key in ("trace_id", "span_id", "service", "name", "kind", "start_ns", "end_ns")]
    + [{"start_ns": 1.5}, {"end_ns": True}, {"name": ["x"]}],
    ids=str,
)
def test_a_line_without_a_required_value_is_no_span(change: dict[str, object]) -> None:
    """A line is skipped if a required value is missing or has another type."""
    without = {key: value for key, value in OLD_LINE.items() if key not in change}

    assert StoredSpan.parse(json.dumps({**OLD_LINE, **change}).encode()) is None
    assert StoredSpan.parse(json.dumps(without).encode()) is None


@pytest.mark.parametrize(
    "change",
    [{"attributes": [1]}, {"events": 5}, {"events": [None, {"name": 1}, {"name": "x"}]}, {"caller": 7}, {"error": {}}],
    ids=str,
)
def test_an_optional_value_of_another_type_is_ignored(change: dict[str, object]) -> None:
    """An optional value of another type is treated as missing."""
    span = StoredSpan.parse(json.dumps({**OLD_LINE, **change}).encode())

    assert span == StoredSpan.parse(json.dumps(OLD_LINE).encode())


@pytest.mark.parametrize("line", [b"", b"5", b"null", b"[]", b'"x"', b'{"trace', b"[" * 100_000, b"\xff"])
def test_other_json_is_no_span(line: bytes) -> None:
    """A line that is not a JSON object is skipped."""
    assert StoredSpan.parse(line) is None


def test_a_trace_across_blocks_of_a_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line is found, also if the end of a block of the file cuts it or the searched id."""
    monkeypatch.setattr(mesh.telemetry.spans, "BLOCK_BYTES", 100)
    ids = [one_trace(tmp_path) for _ in range(20)]

    assert [len(read_trace(tmp_path, each)) for each in ids] == [4] * 20
