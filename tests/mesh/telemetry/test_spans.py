from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

import mesh.telemetry.spans
from mesh.telemetry.spans import FolderSpanExporter, children_of, latest_traces, read_trace, traces_of

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
    assert len(latest_traces(tmp_path, 9)) == 1


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


def test_the_latest_traces_are_listed(tmp_path: Path) -> None:
    """The latest traces are listed in order, each with all of its spans. A missing folder has no traces."""
    ids = [one_trace(tmp_path) for _ in range(4)]

    traces = latest_traces(tmp_path, 3)

    assert [spans[0].trace_id for spans in traces] == ids[1:]
    assert {len(spans) for spans in traces} == {4}
    assert latest_traces(tmp_path / "nowhere", 3) == []


@pytest.mark.requirement("S5")
def test_a_span_file_is_rotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A span file is rotated at its largest size. The one older file is still read."""
    trace_id = one_trace(tmp_path)
    size = (tmp_path / "session.jsonl").stat().st_size
    monkeypatch.setattr(mesh.telemetry.spans, "MAX_FILE_BYTES", size - 1)

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
