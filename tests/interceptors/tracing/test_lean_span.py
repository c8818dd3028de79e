"""Comparison of lean spans with spans of the SDK after the same operations."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode, TraceFlags, TraceState

from interceptors.tracing.lean_span import LeanSpan, SharedAttributes
from interceptors.tracing.lean_tracer import lean_tracer
from tests.support.counted_ids import CountedIds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Tracer
    from opentelemetry.util.types import Attributes

    Operation = Callable[[Span], None]

STATE = TraceState([("vendor", "1")])
REMOTE = SpanContext(7, 8, is_remote=True, trace_flags=TraceFlags(1), trace_state=STATE)
RANDOM = SpanContext(9, 8, is_remote=False, trace_flags=TraceFlags(3))
LINK = Link(REMOTE, {"of": "link"})


def read_attributes(span: Span) -> None:
    """Read the attributes, as a processor may."""
    _ = getattr(span, "attributes", None)


keys = st.sampled_from(["a", "b", "c", "d", "e", ""])
values = st.one_of(
    st.text(max_size=12), st.integers(), st.booleans(), st.floats(allow_nan=False), st.binary(max_size=4), st.none(),
    st.lists(st.integers(), max_size=3), st.builds(object),
)  # fmt: skip
attributes = st.dictionaries(keys, values, max_size=5)
operations = st.one_of(
    attributes.map(lambda given: lambda span: span.set_attributes(given)),
    st.tuples(keys, values).map(lambda pair: lambda span: span.set_attribute(*pair)),
    attributes.map(lambda given: lambda span: span.add_event("event", given, timestamp=1)),
    attributes.map(lambda given: lambda span: span.add_link(REMOTE, given)),
    st.text(max_size=5).map(lambda name: lambda span: span.update_name(name)),
    st.sampled_from(StatusCode).map(lambda code: lambda span: span.set_status(code, "because")),
    st.just(lambda span: span.record_exception(ValueError("no"), {"extra": 1}, timestamp=2)),
    st.just(lambda span: span.end(5)),
    st.just(read_attributes),
)


@dataclass
class Recorder(SpanProcessor):
    """Processor that stores the facts of each span at its end, and with `reads_start` also at its start."""

    reads_start: bool
    started: list[dict[str, Any]] = field(default_factory=list)
    ended: list[dict[str, Any]] = field(default_factory=list)

    def on_start(self, span: SdkSpan, parent_context: Context | None = None) -> None:
        facts = facts_of(span) if self.reads_start else {"name": span.name}
        self.started.append(facts | {"has parent context": parent_context is not None})

    def _on_ending(self, span: SdkSpan) -> None:
        self.ended.append({"ending": span.name})

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(facts_of(span))


class Drawn(Sampler):
    """Sampler with a fixed decision, which adds an attribute and a trace state."""

    def __init__(self, decision: Decision) -> None:
        self._decision = decision

    def should_sample(self, *arguments: Any, **named: Any) -> SamplingResult:
        given: Attributes = arguments[4]
        return SamplingResult(self._decision, {**(given or {}), "by": "sampler"}, STATE)

    def get_description(self) -> str:
        return "drawn"


def facts_of(span: ReadableSpan) -> dict[str, Any]:
    """Return the facts of a span for exporters, except its start and the attributes of exceptions."""
    context = span.get_span_context()
    assert context is not None
    return {
        "name": span.name,
        "context": (*context,),
        "parent": span.parent,
        "kind": span.kind,
        "attributes": list((span.attributes or {}).items()),
        "events": [(each.name, each.timestamp, dict(each.attributes or {})) for each in span.events
                   if each.name != "exception"],
        "exceptions": [each.timestamp for each in span.events if each.name == "exception"],
        "links": [(each.context, dict(each.attributes or {})) for each in span.links],
        "status": (span.status.status_code, span.status.description),
        "dropped": (span.dropped_attributes, span.dropped_events, span.dropped_links),
        "resource": span.resource.attributes["service.name"],
        "scope": span.instrumentation_scope,
        "ends": span.end_time,
    }  # fmt: skip


def tracer(recorder: Recorder, **options: Any) -> Tracer:
    """Return a tracer of the SDK; `recorder` gets its spans."""
    provider = TracerProvider(id_generator=CountedIds(), shutdown_on_exit=False, **options)
    provider.add_span_processor(recorder)
    return provider.get_tracer("tests", "1.0", "https://example.com/schema", {"of": "scope"})


def with_parent(context: SpanContext | None) -> Context:
    """Return a context with this span, or an empty one."""
    return Context() if context is None else trace.set_span_in_context(NonRecordingSpan(context), Context())


limits = st.builds(
    SpanLimits,
    max_span_attributes=st.sampled_from([0, 1, 3, 128]),
    max_events=st.sampled_from([0, 1, 128]),
    max_links=st.sampled_from([0, 1, 128]),
    max_event_attributes=st.sampled_from([1, 128]),
    max_attribute_length=st.sampled_from([None, 2]),
)


@pytest.mark.requirement("S5")
@given(
    first=attributes,
    steps=st.lists(operations, max_size=6),
    limits=limits,
    parent=st.sampled_from([None, REMOTE, RANDOM]),
    links=st.lists(st.just(LINK), max_size=1),
    decision=st.sampled_from(Decision),
    reads_start=st.booleans(),
)
def test_a_lean_span_is_the_span_of_the_sdk(
    *,
    first: dict[str, Any],
    steps: Sequence[Operation],
    limits: SpanLimits,
    parent: SpanContext | None,
    links: Sequence[Link],
    decision: Decision,
    reads_start: bool,
) -> None:
    """After the same operations, a lean span and a span of the SDK are equal for processors and exporters."""
    seen: list[Recorder] = []
    options: dict[str, Any] = {"links": links} if links else {}
    for convert in (lambda sdk: sdk, lean_tracer):
        recorder = Recorder(reads_start=reads_start)
        started = convert(tracer(recorder, span_limits=limits, sampler=Drawn(decision))).start_span(
            "name", with_parent(parent), SpanKind.SERVER, dict(first), **options
        )
        assert isinstance(started, LeanSpan) is (convert is lean_tracer and decision is not Decision.DROP and not links)
        for step in steps:
            step(started)
        started.end(9)
        seen.append(recorder)

    sdk, lean = seen
    assert lean.started == sdk.started
    assert lean.ended == sdk.ended


@pytest.mark.requirement("S5")
@given(
    first=attributes,
    steps=st.lists(operations, max_size=4),
    shared=st.dictionaries(keys.map("shared.{}".format), values, max_size=5),
    added=st.dictionaries(keys.map("added.{}".format), values, max_size=5),
    limits=limits,
)
def test_attributes_set_at_the_end_are_those_of_the_sdk(
    *,
    first: dict[str, Any],
    steps: Sequence[Operation],
    shared: dict[str, Any],
    added: dict[str, Any],
    limits: SpanLimits,
) -> None:
    """After the same operations, `end_with` has the same effect as `set_attributes` and `end` of the SDK."""
    seen: list[list[dict[str, Any]]] = []
    for convert in (lambda sdk: sdk, lean_tracer):
        recorder = Recorder(reads_start=False)
        span = convert(tracer(recorder, span_limits=limits)).start_span("name", attributes=dict(first))
        for step in steps:
            step(span)
        if isinstance(span, LeanSpan):
            span.end_with(SharedAttributes(shared), added)
        else:
            span.set_attributes({**shared, **added})
            span.end()
        # The time of this end differs. An earlier end is at 5.
        seen.append([facts | {"ends": facts.get("ends") == 5} for facts in recorder.ended])

    sdk, lean = seen
    assert lean == sdk


def test_a_disabled_tracer_records_nothing() -> None:
    """A tracer that the SDK's configuration disables starts no recorded span."""
    recorder = Recorder(reads_start=True)
    sdk = tracer(recorder)
    assert isinstance(sdk, SdkTracer)
    sdk._tracer_config.is_enabled = False

    assert not lean_tracer(sdk).start_span("name").is_recording()
    assert recorder.started == recorder.ended == []


def test_an_ended_span_does_not_change() -> None:
    """Attributes that are set after the end of a span are not in the span."""
    provider = TracerProvider(shutdown_on_exit=False)
    span = lean_tracer(provider.get_tracer("tests")).start_span("name", attributes={"a": 1})
    assert isinstance(span, LeanSpan)
    span.end()
    span.set_attributes({"b": 2})

    assert dict(span.attributes or {}) == {"a": 1}


def test_attributes_of_many_threads_are_complete() -> None:
    """Attributes that many threads set at once are all in the span, and one of many ends counts."""
    recorder = Recorder(reads_start=False)
    span = lean_tracer(tracer(recorder)).start_span("name")
    barrier = threading.Barrier(8)

    def work(number: int) -> None:
        barrier.wait()
        span.set_attributes({f"a{number}": number})
        span.set_attribute(f"b{number}", number)
        barrier.wait()
        span.end()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))

    [_, ended] = recorder.ended
    assert dict(ended["attributes"]) == {f"{kind}{number}": number for kind in "ab" for number in range(8)}
