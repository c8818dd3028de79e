from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from operations.traces.filter import TraceFilter, is_method
from operations.traces.reader import TraceReader, find_traces
from tests.support.stored_traces import BOOKING, MS, chain, write_spans

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW_NS = 1_790_000_000 * 1_000_000_000
NOW = datetime.fromtimestamp(NOW_NS / 1e9, UTC)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[TraceReader]:
    """Return a reader of three traces: 0 is slow, 1 has an error and only two calls, and 2 has another caller."""
    write_spans(tmp_path, chain(0, start_ns=NOW_NS, ms=500))
    write_spans(tmp_path, chain(1, BOOKING[:2], start_ns=NOW_NS + 1000 * MS, error="There is no user with this id."))
    by_ada = (replace(span, caller="ada" if span.caller else "") for span in chain(2, start_ns=NOW_NS + 2000 * MS))
    write_spans(tmp_path, by_ada)
    with closing(TraceReader(tmp_path)) as found:
        found.update()
        yield found


def numbers(reader: TraceReader, wanted: TraceFilter) -> list[int]:
    """Return the numbers of the matching traces, the latest first."""
    number_of_start = {NOW_NS + number * 1000 * MS: number for number in range(3)}
    return [number_of_start[trace.start_ns] for trace in reader.page(wanted, 10).traces]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (TraceFilter(), [2, 1, 0]),
        (TraceFilter(method="payment.Charge"), [2, 0]),
        (TraceFilter(method="getuser"), [2, 1, 0]),
        (TraceFilter(method="GetGym"), []),
        (TraceFilter(service="gym"), [2, 0]),
        (TraceFilter(service="gy"), []),
        (TraceFilter(only_errors=True), [1]),
        (TraceFilter(slower_than_ms=100), [0]),
        (TraceFilter(slower_than_ms=99.9), [2, 1, 0]),
        (TraceFilter(caller="ada"), [2]),
        (TraceFilter(since=NOW + timedelta(seconds=1)), [2, 1]),
        (TraceFilter(until=NOW + timedelta(seconds=1)), [1, 0]),
        (TraceFilter(service="user", only_errors=True, slower_than_ms=50, method="BookSession"), [1]),
        (TraceFilter(service="gym", only_errors=True), []),
    ],
    ids=str,
)
def test_a_filter_selects_traces(reader: TraceReader, wanted: TraceFilter, expected: list[int]) -> None:
    """A trace is listed if it meets all conditions, the latest trace first."""
    assert numbers(reader, wanted) == expected


def test_a_trace_is_selected_by_either_id(reader: TraceReader) -> None:
    """The beginning of a trace id or the whole correlation id selects a trace."""
    trace = reader.page(TraceFilter(), 10).traces[1]

    assert numbers(reader, TraceFilter(id=trace.trace_id.upper())) == [1]
    assert numbers(reader, TraceFilter(id=trace.trace_id[:8])) == [1]
    assert numbers(reader, TraceFilter(id=trace.correlation_id)) == [1]
    assert numbers(reader, TraceFilter(id=trace.correlation_id[:8])) == []


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [
        ("gym.GetGym", True),
        ("GymService/GetGym", True),
        ("gymservice.getgym", True),
        ("/solo60.gym.v1.GymService/GetGym", True),
        ("getg", True),
        ("gym.GetGy", False),
        ("gym.Get", False),
        ("user.GetGym", False),
        ("gymservice", False),
        ("[", False),
    ],
)
def test_a_method_has_several_names(wanted: str, matches: bool) -> None:  # noqa: FBT001 - a parameter of pytest
    """A name with a dot or a slash is a whole name of a method; any other text is a part of its own name."""
    assert is_method(wanted, "solo60.gym.v1.GymService/GetGym") == matches


def test_pages_follow_each_other(reader: TraceReader) -> None:
    """Pages together have every trace once, and each knows the number of all traces."""
    pages = [reader.page(TraceFilter(), 2, offset) for offset in (0, 2, 4)]

    assert [len(page.traces) for page in pages] == [2, 1, 0]
    assert [page.total for page in pages] == [3, 3, 3]
    assert len({trace.trace_id for page in pages for trace in page.traces}) == 3


def test_new_spans_are_added(reader: TraceReader) -> None:
    """An update adds the new spans: to known traces, and as new traces."""
    spans = list(chain(3, start_ns=NOW_NS + 3000 * MS))
    write_spans(reader.folder, spans[:5])
    assert reader.update() == 5
    write_spans(reader.folder, spans[5:])
    assert reader.update() == 6

    latest = reader.page(TraceFilter(), 1)
    assert latest.total == 4
    assert (latest.traces[0].trace_id, latest.traces[0].calls) == (spans[0].trace_id, 5)
    assert reader.update() == 0


def test_the_names_of_all_traces_are_known(reader: TraceReader) -> None:
    """A form can offer the names of methods, services and callers that occur."""
    names = reader.names()

    assert names.methods == sorted(method for _, method in BOOKING)
    assert names.services == ["communication", "gym", "payment", "session", "solo60", "user"]
    assert names.callers == ["ada", "operator"]


def test_a_hostile_line_is_skipped(reader: TraceReader) -> None:
    """Corrupt lines, and spans with extreme values, do not stop the reader."""
    span = next(chain(4, start_ns=NOW_NS + 4000 * MS))
    extreme = [
        replace(span, trace_id=f"{number:032x}", start_ns=start, end_ns=end)
        for number, (start, end) in enumerate([(-(2**63), 2**63 - 1), (2**64 - 1, 0), (0, 0)], 1)
    ]
    write_spans(reader.folder, [*extreme, replace(span, name="\x1b[31m<script>[red]" * 1000), span])
    with (reader.folder / "gym.jsonl").open("ab") as file:
        file.write(b'\x00\n"\xff"\n5\n{"trace_id": 1}\n' + b"[" * 100_000 + b"\n")
    reader.update()

    traces = reader.page(TraceFilter(), 10)
    assert traces.total == 5  # spans without a positive start are ignored
    assert all(str(trace.start) and trace.name and trace.duration_ms is not None for trace in traces.traces)


def test_one_trace_is_found_by_either_id(reader: TraceReader) -> None:
    """A trace is read with all spans in the order of their starts, by its id or its correlation id, and once."""
    trace = reader.page(TraceFilter(), 10).traces[0]

    for id_ in (trace.trace_id, trace.trace_id.upper(), trace.correlation_id):
        [spans] = find_traces(reader.folder, id_)
        assert len(spans) == 11
        assert spans == sorted(spans, key=lambda span: span.start_ns)
    same_ids = (replace(span, correlation_id=span.trace_id) for span in chain(5, start_ns=NOW_NS))
    write_spans(reader.folder, same_ids)
    assert len(find_traces(reader.folder, next(chain(5, start_ns=NOW_NS)).trace_id)) == 1
    assert find_traces(reader.folder, "") == []
