from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from mesh.telemetry.sampling import SamplingProvider

RATIOS = (0.0, 0.1, 0.5, 1.0)


def context_with_parent(parent: tuple[int, int, int]) -> Context:
    """Make a context with a remote parent that has this trace id, span id and flags."""
    trace_id, span_id, flags = parent
    remote = SpanContext(trace_id, span_id, True, TraceFlags(flags), TraceState([("vendor", "1")]))  # noqa: FBT003 - is_remote
    return set_span_in_context(NonRecordingSpan(remote), Context())


def sdk_provider(ratio: float) -> TracerProvider:
    """Make a provider of the OpenTelemetry SDK."""
    return TracerProvider(ParentBased(TraceIdRatioBased(ratio)), shutdown_on_exit=False)


def facts(span: Span) -> tuple[bool, int, int, object, bool]:
    """Return the facts that propagate to callees, without the span's own id."""
    context = span.get_span_context()
    assert context.is_valid
    return span.is_recording(), context.trace_id, context.trace_flags, context.trace_state, context.is_remote


@pytest.mark.requirement("S5")
@given(
    st.sampled_from(RATIOS),
    st.tuples(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 255)),
)
def test_the_sampling_decision_of_the_caller_is_inherited(ratio: float, parent: tuple[int, int, int]) -> None:
    """A span with a remote parent has the caller's sampling decision and trace, as in OpenTelemetry."""
    actual = (
        SamplingProvider(ratio, shutdown_on_exit=False)
        .get_tracer("test")
        .start_span("name", context_with_parent(parent))
    )
    expected = sdk_provider(ratio).get_tracer("test").start_span("name", context_with_parent(parent))

    assert facts(actual) == facts(expected)


@pytest.mark.requirement("S5")
def test_a_new_trace_is_sampled_by_its_id() -> None:
    """The id of a new trace decides whether it is sampled, so that other services come to the same decision."""
    for ratio in RATIOS:
        by_id, tracer = TraceIdRatioBased(ratio), SamplingProvider(ratio, shutdown_on_exit=False).get_tracer("test")
        begun = [tracer.start_span("name", Context()) for _ in range(2000)]

        for span in begun:
            context = span.get_span_context()
            decision: Any = by_id.should_sample(None, context.trace_id, "name").decision
            is_recorded = decision.is_recording()
            assert (span.is_recording(), context.trace_flags.sampled, context.is_valid) == (
                is_recorded,
                is_recorded,
                True,
            )
            assert context.trace_flags.random_trace_id
        assert abs(sum(span.is_recording() for span in begun) / 2000 - ratio) < 0.06
        assert len({span.get_span_context().trace_id for span in begun}) == 2000


def test_the_current_span_is_the_parent_and_ends_with_its_block() -> None:
    """The current span is the parent of new spans and ends with its block, as with OpenTelemetry's own tracer."""
    tracer = SamplingProvider(1.0, shutdown_on_exit=False).get_tracer("test")

    with tracer.start_as_current_span("outer", kind=trace.SpanKind.SERVER) as outer:
        assert trace.get_current_span() is outer
        inner = tracer.start_span("inner")
    with tracer.start_as_current_span("open", end_on_exit=False) as left_open:
        pass

    assert isinstance(outer, ReadableSpan)
    assert isinstance(inner, ReadableSpan)
    assert inner.parent == outer.get_span_context()
    assert (outer.kind, outer.is_recording(), left_open.is_recording()) == (trace.SpanKind.SERVER, False, True)


def test_an_error_is_recorded_on_the_span_unless_disabled() -> None:
    """An exception is recorded on the span unless recording is disabled, as with OpenTelemetry's own tracer."""
    tracer = SamplingProvider(1.0, shutdown_on_exit=False).get_tracer("test")
    spans = []
    for records in (True, False):
        with (
            suppress(ValueError),
            tracer.start_as_current_span("s", record_exception=records, set_status_on_exception=records) as span,
        ):
            spans.append(span)
            int("no number")

    recorded_span, unrecorded_span = spans
    assert isinstance(recorded_span, ReadableSpan)
    assert isinstance(unrecorded_span, ReadableSpan)
    assert (recorded_span.status.status_code, len(recorded_span.events)) == (StatusCode.ERROR, 1)
    assert (unrecorded_span.status.status_code, len(unrecorded_span.events)) == (StatusCode.UNSET, 0)


class RecordingProcessor(SpanProcessor):
    """Processor that adds each of its calls to a record."""

    def __init__(self, name: str, record: list[str]) -> None:
        self._name, self._record = name, record

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self._record.append(
            f"{self._name} starts with {trace.get_current_span(parent_context).get_span_context().span_id}"
        )

    def _on_ending(self, span: Span) -> None:
        self._record.append(f"{self._name} is ending")

    def on_end(self, span: ReadableSpan) -> None:
        self._record.append(f"{self._name} ends")


def test_every_processor_gets_each_span() -> None:
    """A tracer calls processors in the order of the SDK, even if they are added after it."""
    record: list[str] = []
    provider = SamplingProvider(1.0, shutdown_on_exit=False)
    tracer = provider.get_tracer("test")
    provider.add_span_processor(RecordingProcessor("first", record))
    provider.add_span_processor(SpanProcessor())
    provider.add_span_processor(RecordingProcessor("second", record))

    tracer.start_span("name", context_with_parent((7, 8, 1))).end()

    assert record == [
        "first starts with 8",
        "second starts with 8",
        "first is ending",
        "second is ending",
        "first ends",
        "second ends",
    ]


class Adding(RecordingProcessor):
    """Processor that adds another one when a span ends."""

    def __init__(self, record: list[str], provider: SamplingProvider) -> None:
        super().__init__("first", record)
        self._provider = provider

    def on_end(self, span: ReadableSpan) -> None:
        super().on_end(span)
        if len(self._record) < 4:  # not again and again
            self._provider.add_span_processor(RecordingProcessor("added", []))


def test_a_processor_gets_a_span_once_while_another_one_is_added() -> None:
    """A processor that is added while a span ends does not report the end to the others again."""
    record: list[str] = []
    provider = SamplingProvider(1.0, shutdown_on_exit=False)
    provider.add_span_processor(Adding(record, provider))

    provider.get_tracer("test").start_span("name", Context()).end()

    assert record == ["first starts with 0", "first is ending", "first ends"]
