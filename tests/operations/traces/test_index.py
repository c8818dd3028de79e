from __future__ import annotations

import gc
import random
import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from operations.traces.index import TraceIndex
from operations.traces.name_pool import MAX_ENTRIES, MAX_NAMES, NamePool
from tests.support.stored_traces import BOOKING, MS, chain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mesh.telemetry.spans import StoredSpan
    from operations.traces.summary import TraceSummary

NOW_NS = 1_790_000_000 * 1_000_000_000


def summary_of(spans: Iterable[StoredSpan]) -> TraceSummary:
    """Return the summary of one trace."""
    index = TraceIndex()
    for span in spans:
        index.add(span)
    [summary] = index.newest_first()
    return summary


def facts(summary: TraceSummary) -> tuple[object, ...]:
    """Return everything that a summary shows."""
    names = (summary.service, summary.name, summary.method, summary.caller, summary.methods, summary.services)
    numbers = (summary.start_ns, summary.duration_ms, summary.calls, summary.errors)
    return (summary.trace_id, summary.correlation_id, *names, *numbers)


def test_a_summary_names_the_first_call() -> None:
    """A summary has the first span, the first served call, and the number of calls and errors."""
    spans = list(chain(1, start_ns=NOW_NS, error="Declined."))
    summary = summary_of(spans)

    assert (summary.trace_id, summary.correlation_id) == (spans[0].trace_id, spans[2].correlation_id)
    assert (summary.service, summary.name) == ("solo60", "call: SessionService/BookSession")
    assert (summary.method, summary.caller) == ("solo60.session.v1.SessionService/BookSession", "operator")
    assert (summary.start_ns, summary.duration_ms) == (NOW_NS, 100.0)
    assert (summary.calls, summary.errors) == (5, 2)
    assert summary.methods == tuple(sorted(method for _, method in BOOKING))
    assert summary.services == ("communication", "gym", "payment", "session", "solo60", "user")


@pytest.mark.parametrize("seed", range(20))
def test_the_order_of_spans_does_not_matter(seed: int) -> None:
    """A summary is the same in whatever order the spans of a trace arrive."""
    spans = list(chain(1, start_ns=NOW_NS, error="Declined."))
    expected = facts(summary_of(spans))
    random.Random(seed).shuffle(spans)  # noqa: S311 - no secret

    assert facts(summary_of(spans)) == expected


def test_a_trace_without_its_root_begins_with_its_earliest_span() -> None:
    """If the caller does not store spans, the earliest span is the first one."""
    spans = list(chain(1, start_ns=NOW_NS))[2:]
    summary = summary_of(reversed(spans))

    assert (summary.service, summary.name) == ("session", "SessionService/BookSession")
    assert summary.start_ns == NOW_NS + 4 * MS


def test_a_call_without_an_answer_is_counted_among_the_methods() -> None:
    """A call to a dead service has no server span, and its method is known nevertheless."""
    summary = summary_of(list(chain(1, BOOKING[:1], start_ns=NOW_NS))[:2])

    assert (summary.calls, summary.methods) == (0, ("solo60.session.v1.SessionService/BookSession",))


@pytest.mark.parametrize("trace_id", ["", "0" * 32, "x" * 32, "1" * 31, "1" * 1000, "é" * 32])
def test_an_invalid_trace_id_is_ignored(trace_id: str) -> None:
    """A span with an invalid trace id is in no summary."""
    index = TraceIndex()
    index.add(replace(next(chain(1, start_ns=NOW_NS)), trace_id=trace_id))

    assert len(index) == 0


def test_the_newest_traces_are_stored() -> None:
    """Beyond `max_traces`, the traces with the earliest start are dropped, whatever file is read first."""
    index = TraceIndex(max_traces=100)
    numbers = list(range(300))
    random.Random(1).shuffle(numbers)  # noqa: S311 - no secret
    for number in numbers:
        for span in chain(number, start_ns=NOW_NS + number * 1000 * MS):
            index.add(span)

    starts = [(summary.start_ns - NOW_NS) // (1000 * MS) for summary in index.newest_first()]
    assert 95 <= len(starts) <= 100
    assert starts == list(range(299, 299 - len(starts), -1))


def test_a_dropped_trace_does_not_return() -> None:
    """Further spans of a dropped trace are ignored, because their summary would be wrong."""
    index = TraceIndex(max_traces=10)
    for number in range(30):
        for span in chain(number, start_ns=NOW_NS + number):
            index.add(span)
    before = len(index)
    index.add(next(chain(0, start_ns=NOW_NS)))

    assert len(index) == before


def measured(fill: Callable[[TraceIndex], None], index: TraceIndex) -> int:
    """Return the memory in bytes that an index takes after `fill`."""
    gc.collect()
    tracemalloc.start()
    try:
        fill(index)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def test_ten_thousand_traces_take_little_memory() -> None:
    """10,000 traces of 11 spans each take less than 8 MB."""

    def fill(index: TraceIndex) -> None:
        for number in range(10_000):
            for span in chain(number, start_ns=NOW_NS + number * MS):
                index.add(span)

    index = TraceIndex()
    size = measured(fill, index)

    assert len(index) == 10_000
    assert size < 8_000_000
    assert 0.5 * size < index.size_bytes < 2 * size


def test_invented_names_cannot_fill_the_memory() -> None:
    """A program that invents names for its spans makes the index drop traces, before it exceeds about `max_bytes`."""

    def fill(index: TraceIndex) -> None:
        for number in range(3_000):
            [span] = chain(number, (), start_ns=NOW_NS + number)
            for part in range(5):
                name = f"{number}.{part}/{'🏋' * 10_000}"
                index.add(replace(span, name=name, service=name, caller=name, correlation_id=name, kind="SERVER"))

    size = measured(fill, TraceIndex(max_bytes=1_000_000))

    assert size < 6_000_000


def test_a_pool_shares_equal_names() -> None:
    """Equal names are one object. A pool with too many names forgets them, and a trace has at most MAX_NAMES names."""
    pool = NamePool()
    first = pool.name("x" * 50)
    assert pool.name("".join(["x"] * 50)) is first
    assert pool.with_name((), "b") is pool.with_name((), "b")
    assert pool.with_name(pool.with_name((), "b"), "a") == ("a", "b")
    names: tuple[str, ...] = ()
    for number in range(MAX_NAMES + 5):
        names = pool.with_name(names, str(number))
    for number in range(MAX_ENTRIES):
        pool.name(f"name {number}")

    assert len(names) == MAX_NAMES
    assert pool.name("".join(["x"] * 50)) is not first
