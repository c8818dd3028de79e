"""Comparison of the encoding of spans with that of OpenTelemetry's exporter package."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as encode_by_package
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState
from structlog.testing import capture_logs

from interceptors.tracing.lean_span import LeanSpan, SharedAttributes
from interceptors.tracing.lean_tracer import lean_tracer
from mesh.telemetry.otlp.attribute_encoding import MAX_BYTES, MAX_KEYS, MAX_VALUES, EncodedAttributes
from mesh.telemetry.otlp.span_encoding import encode_spans
from tests.support.counted_ids import CountedIds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
keys = st.one_of(st.sampled_from(["a", "b", "c"]), texts.filter(bool))
plain_values = st.one_of(texts, st.sampled_from(["a", "b"]), st.integers(-(2**63), 2**63 - 1), st.integers(0, 300))
other_values = st.one_of(
    st.booleans(), st.floats(allow_nan=False), st.binary(max_size=4), st.lists(st.integers(0, 9), max_size=3),
    st.lists(texts, max_size=2),
)  # fmt: skip
plain_attributes = st.dictionaries(keys, plain_values, max_size=4)
attributes = st.one_of(
    plain_attributes, plain_attributes, st.dictionaries(keys, st.one_of(plain_values, other_values), max_size=6)
)
states = st.sampled_from([None, TraceState([("vendor", "1"), ("other", "é=2")])])
contexts = st.builds(
    SpanContext, st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans(), st.just(TraceFlags(1)), states
)
statuses = st.one_of(st.none(), st.just(Status(StatusCode.OK)), texts.map(lambda text: Status(StatusCode.ERROR, text)))


@pytest.fixture(autouse=True, scope="module")
def _silent_package() -> Iterator[None]:
    """Keep the package from logging keys that pytest's workers cannot send."""
    logger = logging.getLogger("opentelemetry.exporter.otlp.proto.common._internal")
    logger.disabled = True
    yield
    logger.disabled = False


def attributes_after(prefix: str) -> st.SearchStrategy[dict[str, Any]]:
    """Draw attributes with keys of their own."""
    return attributes.map(lambda drawn: {f"{prefix}.{key}": value for key, value in drawn.items()})


@st.composite
def spans(draw: st.DrawFn) -> Sequence[ReadableSpan]:
    """Draw spans of two scopes and both kinds of tracers, some with events, and some with too many attributes."""
    resource = Resource(draw(attributes), draw(st.sampled_from(["", "https://example.com/r"])))
    provider, exporter = recording(resource, draw(st.sampled_from([5, 128])))
    tracers = [lean_tracer(provider.get_tracer("a", "1", draw(st.sampled_from(["", "https://example.com/s"]))))]
    tracers += [lean_tracer(provider.get_tracer("b", None, None, {"of": "scope"})), provider.get_tracer("sdk")]
    for tracer in draw(st.lists(st.sampled_from(tracers), min_size=1, max_size=5)):
        parent = draw(st.one_of(st.none(), contexts))
        context = Context() if parent is None else trace.set_span_in_context(NonRecordingSpan(parent), Context())
        span = tracer.start_span(draw(texts), context, draw(st.sampled_from(SpanKind)), draw(attributes))
        if draw(st.booleans()):
            span.set_attributes(draw(attributes))
        if draw(st.integers(0, 4)) == 0:
            span.add_event("event", draw(attributes))
        if (status := draw(statuses)) is not None:
            span.set_status(status)
        if isinstance(span, LeanSpan) and draw(st.booleans()):
            shared, added = draw(attributes_after("shared")), draw(attributes_after("added"))
            span.end_with(SharedAttributes(shared), added)
        else:
            span.end(draw(st.one_of(st.none(), st.integers(0, 2**63))))
    return exporter.get_finished_spans()


def recording(resource: Resource, max_attributes: int) -> tuple[TracerProvider, InMemorySpanExporter]:
    """Return a provider of the SDK whose spans have at most this number of attributes, and the store of its spans."""
    limits = SpanLimits(max_span_attributes=max_attributes)
    provider = TracerProvider(id_generator=CountedIds(), resource=resource, span_limits=limits, shutdown_on_exit=False)
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, exporter


def by_id(request: ExportTraceServiceRequest) -> dict[bytes, tuple[Any, ...]]:
    """Return each span of a request by its id, with its resource, scope and schema addresses."""
    return {
        span.span_id: (span, group.resource, group.schema_url, scoped.scope, scoped.schema_url)
        for group in request.resource_spans
        for scoped in group.scope_spans
        for span in scoped.spans
    }


@pytest.mark.requirement("S5")
@given(spans())
def test_the_encoding_is_that_of_the_exporter_package(found: Sequence[ReadableSpan]) -> None:
    """Over random spans, both encoders give messages that are equal field by field, for the package's parser."""
    actual = ExportTraceServiceRequest.FromString(encode_spans(found))

    assert by_id(actual) == by_id(encode_by_package(found))


@pytest.mark.parametrize(
    ("first", "rest"),
    [
        ({"a": "1"}, {}),
        ({"a": "1", "b": "2"}, {"c": "3", "a": "4"}),
        ({"a": 1}, {"b": 1.0, "c": True}),
        ({"a": True}, {}),
        ({"a": -1}, {"b": 300}),
        ({"a": 2**63 - 1}, {"b": -(2**63)}),
        ({"a": "x" * 3_000}, {}),
        # The package omits these.
        ({"a": 2**63}, {"b": "1"}),
        ({"a": -(2**63) - 1}, {"b": "1"}),
        ({"a": "\ud800"}, {"b": "1"}),
        ({"\ud800": "a"}, {"b": "1"}),
        ({"": "a"}, {"b": "1"}),
        # More than the limit of the SDK.
        ({"a": "1", "b": "2", "c": "3"}, {"d": "4", "e": "5", "f": "6"}),
    ],
)
@pytest.mark.parametrize("is_read_before", [False, True])
def test_the_encoding_of_attributes_is_that_of_the_exporter_package(
    first: dict[str, Any], rest: dict[str, Any], *, is_read_before: bool
) -> None:
    """Both encoders give equal attributes for each type, for invalid ones, and if another exporter has read them."""
    provider, exporter = recording(Resource({}), 5)
    span = lean_tracer(provider.get_tracer("a")).start_span("name", attributes=first)
    span.set_attributes(rest)
    span.end()
    [found] = exporter.get_finished_spans()
    assert not is_read_before or found.attributes
    actual = ExportTraceServiceRequest.FromString(encode_spans([found]))

    assert by_id(actual) == by_id(encode_by_package([found]))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda span: span.update_name("half of a pair: \ud800"),
        lambda span: span.update_name(5),
        lambda span: span.update_name(["unhashable"]),
        lambda span: span.set_status(Status(StatusCode.ERROR, "\ud800")),
        lambda span: span.add_event("\ud800"),
        lambda span: span.add_event("event", timestamp=-1),
        lambda span: span.end(-1),
        lambda span: span.end(2**64),
        lambda span: span.end(1.5),
    ],
)
def test_a_span_that_cannot_be_encoded_is_dropped_alone(spoil: Callable[[Any], None]) -> None:
    """A span with an impossible value is dropped and logged; all other spans of the batch are exported."""
    provider, exporter = recording(Resource({}), 5)
    tracer = lean_tracer(provider.get_tracer("a"))
    tracer.start_span("lean").end()
    spoilt = tracer.start_span("spoilt")
    spoil(spoilt)
    if spoilt.is_recording():
        spoilt.end()
    with tracer.start_as_current_span("with an event") as span:
        span.add_event("event")
    with capture_logs() as logs:
        request = ExportTraceServiceRequest.FromString(encode_spans(exporter.get_finished_spans()))

    assert {span.name for span, *_ in by_id(request).values()} == {"lean", "with an event"}
    [line] = logs
    assert line["event"] == "a span is not exported, because it cannot be encoded"


def test_no_spans_are_an_empty_request() -> None:
    """The encoding of no spans is an empty request."""
    assert encode_spans([]) == b""


def test_the_cache_of_attributes_is_bounded() -> None:
    """Only the first keys, and the first short values of each, are stored. Equal values of other types differ."""
    cache = EncodedAttributes()
    for number in range(MAX_VALUES + 10):
        assert cache["id"][str(number)].endswith(str(number).encode())
    for number in range(MAX_KEYS + 10):
        assert len(cache[str(number)]["x" * MAX_BYTES]) > MAX_BYTES

    assert len(cache) == MAX_KEYS
    assert len(cache["id"]) == MAX_VALUES
    assert len(cache["0"]) == 0
    assert cache["id"][1] != cache["id"]["1"]


def test_the_spans_of_a_scope_are_one_group() -> None:
    """Spans of one scope are one group, even if each span comes from a tracer of its own."""
    provider, exporter = recording(Resource({}), 5)
    for _ in range(3):
        lean_tracer(provider.get_tracer("a")).start_span("name").end()
    [group] = ExportTraceServiceRequest.FromString(encode_spans(exporter.get_finished_spans())).resource_spans

    assert [len(scoped.spans) for scoped in group.scope_spans] == [3]
