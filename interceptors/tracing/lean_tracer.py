"""Tracer that starts lean spans in place of the SDK's spans, and reports them to the provider's processors."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.context import get_current
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace._tracer_metrics import NoOpTracerMetrics
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags, Tracer

from interceptors.tracing.lean_span import LeanSpan
from interceptors.tracing.trace_context import FLAGS, context_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.context import Context
    from opentelemetry.trace import Span
    from opentelemetry.util.types import Attributes

SECOND_NS = 1_000_000_000
# Index of `is_valid` in a SpanContext.
_IS_VALID = 5
# Functions of processors that await only the end of a span.
_IDLE_STARTS = (SpanProcessor.on_start, BatchSpanProcessor.on_start)
_IDLE_ENDINGS = (SpanProcessor._on_ending, BatchSpanProcessor._on_ending)


class Listeners:
    """Functions of span processors to call when a span starts or ends. Functions that do nothing are skipped."""

    def __init__(self, *processors: SpanProcessor) -> None:
        self._processors: tuple[SpanProcessor, ...] = ()
        # Replaced and never changed, because spans may start and end meanwhile.
        self.of_starts: tuple[Callable[..., None], ...] = ()
        self.of_ends: tuple[Callable[[LeanSpan], None], ...] = ()
        for each in processors:
            self.add(each)

    def add(self, processor: SpanProcessor) -> None:
        """Add the functions of a processor. All tracers of the provider call them from now on."""
        self._processors = (*self._processors, processor)
        self.of_starts = tuple(each.on_start for each in self._processors if type(each).on_start not in _IDLE_STARTS)
        endings = [each._on_ending for each in self._processors if type(each)._on_ending not in _IDLE_ENDINGS]
        self.of_ends = (*endings, *(each.on_end for each in self._processors))


class LeanTracer(Tracer):
    """Tracer that starts lean spans in place of those of `sdk`, a tracer of the SDK.

    The limits of the SDK change no span with at most `max_plain_attributes`, all of them text or numbers.
    """

    sdk: SdkTracer

    def __init__(self, sdk: SdkTracer, listeners: Listeners | None = None) -> None:
        self.sdk = sdk
        self.listeners = listeners or Listeners(sdk.span_processor)
        limits = sdk._span_limits
        most = sys.maxsize if limits.max_span_attributes is None else limits.max_span_attributes
        self.max_plain_attributes = most if limits.max_span_attribute_length is None else 0

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        *rest: Any,
        **named: Any,
    ) -> Span:
        if rest or named:  # such as links
            return self.sdk.start_span(name, context, kind, attributes, *rest, **named)
        context = get_current() if context is None else context
        parent = trace.get_current_span(context).get_span_context()
        return self.begin(name, parent, kind, dict(attributes or ()), context)

    def begin(
        self,
        name: str,
        parent: SpanContext,
        kind: SpanKind,
        attributes: Mapping[str, Any],
        context: Context | None = None,
    ) -> Span:
        """Start a span below `parent`, which may be invalid. Nothing may change `attributes` later.

        `context` is the context of the parent, or None if that context has nothing but the parent.
        """
        sdk = self.sdk
        if context is None:
            context = context_of(parent)
        if not sdk._is_enabled():
            return sdk.start_span(name, context, kind, attributes)
        if parent.is_valid:
            trace_id, is_random = parent.trace_id, parent.trace_flags.random_trace_id
        else:
            trace_id, is_random = sdk.id_generator.generate_trace_id(), sdk.id_generator.is_trace_id_random()
        result = sdk.sampler.should_sample(context, trace_id, name, kind, attributes, ())
        is_sampled = result.decision is Decision.RECORD_AND_SAMPLE
        flags = FLAGS[is_sampled | is_random * TraceFlags.RANDOM_TRACE_ID]
        span_id = sdk.id_generator.generate_span_id()
        own = SpanContext(trace_id, span_id, is_remote=False, trace_flags=flags, trace_state=result.trace_state)
        if result.decision is Decision.DROP:
            return NonRecordingSpan(own)
        return self.record(name, own, parent, kind, dict(result.attributes or ()), context)

    def record(
        self,
        name: str,
        own: SpanContext,
        parent: SpanContext,
        kind: SpanKind,
        attributes: Mapping[str, Any],
        context: Context | None,
        start_time_ns: int | None = None,
    ) -> LeanSpan:
        """Start a span with the ids and flags of `own`, without the sampler. The rest is as in `begin`."""
        # Set the fields here, because the constructors of the SDK take longer and make the containers.
        span: LeanSpan = object.__new__(LeanSpan)
        span.tracer = self
        span._name = name
        span._context = own
        # A SpanContext is a tuple, and its properties take longer.
        span._parent = parent if parent[_IS_VALID] else None
        span._kind = kind
        span._start_time = time.time_ns() if start_time_ns is None else start_time_ns
        span.first = attributes
        for report in self.listeners.of_starts:
            report(span, parent_context=context_of(parent) if context is None else context)
        return span

    def record_late(
        self,
        skipped: Span,
        name: str,
        parent: SpanContext,
        kind: SpanKind,
        attributes: Mapping[str, Any],
        context: Context | None,
        began_s: float,
    ) -> Span:
        """Start a recorded span in place of `skipped`, a span that the sampler has not recorded, with the same ids.

        The span began at `began_s` on the clock of `time.monotonic`. The rest is as in `begin`. Exporters get the span,
        although its trace is not sampled. A disabled tracer records nothing, and returns `skipped`.
        """
        if not self.sdk._is_enabled():
            return skipped
        trace_id, span_id, is_remote, flags, state, _ = skipped.get_span_context()
        own = SpanContext(trace_id, span_id, is_remote, FLAGS[flags | TraceFlags.SAMPLED], state)
        start_time_ns = time.time_ns() - int((time.monotonic() - began_s) * SECOND_NS)
        return self.record(name, own, parent, kind, attributes, context, start_time_ns)

    # The SDK's method uses only `start_span` of its tracer.
    start_as_current_span = SdkTracer.start_as_current_span


def lean_tracer(tracer: Tracer) -> Tracer:
    """Return a tracer with lean spans in place of a tracer of the SDK, or else `tracer` itself.

    With `OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED`, keep the tracer, because it counts only the SDK's own spans.
    """
    if type(tracer) is SdkTracer and isinstance(tracer._tracer_metrics, NoOpTracerMetrics):
        return LeanTracer(tracer)
    return tracer
