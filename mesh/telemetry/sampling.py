"""Trace sampling. Skipping a trace is cheap, because most traces are skipped."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import INVALID_SPAN_CONTEXT, NonRecordingSpan, SpanContext, SpanKind, TraceFlags

from interceptors.tracing.lean_span import LeanTracer
from interceptors.tracing.trace_context import FLAGS

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer
    from opentelemetry.util.types import Attributes

    from mesh.telemetry.span_exporting import ReportingExporter

_SAMPLING_BITS = TraceIdRatioBased.TRACE_ID_LIMIT


class SamplingProvider(TracerProvider):
    """Tracer provider that records `ratio` of the traces that begin here, and every trace that its caller records.

    The sampling is that of the SDK's `ParentBased(TraceIdRatioBased(ratio))`, without its cost. `exporters` receive the
    recorded spans.
    """

    def __init__(self, ratio: float, **options: Any) -> None:
        by_id = TraceIdRatioBased(ratio)
        self._bound = by_id.bound
        self.exporters: list[ReportingExporter] = []
        super().__init__(sampler=ParentBased(by_id), **options)

    def get_tracer(self, *scope: Any, **named: Any) -> Tracer:
        tracer = super().get_tracer(*scope, **named)
        return _SamplingTracer(tracer, self._bound) if isinstance(tracer, SdkTracer) else tracer


class _SamplingTracer(LeanTracer):
    def __init__(self, tracer: SdkTracer, bound: int) -> None:
        super().__init__(tracer)
        self._bound = bound

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        *rest: Any,
        **named: Any,
    ) -> Span:
        if rest or named:
            return super().start_span(name, context, kind, attributes, *rest, **named)
        # The calls of a trace that begins here have an empty context.
        has_context = context is None or context
        parent = trace.get_current_span(context).get_span_context() if has_context else INVALID_SPAN_CONTEXT
        # A SpanContext is a tuple. Its constructor and its properties take longer than the rest of this method.
        trace_id, _, _, parent_flags, state, has_parent = parent
        if has_parent:
            is_recorded = parent_flags & TraceFlags.SAMPLED
            flags = parent_flags & TraceFlags.RANDOM_TRACE_ID
        else:
            trace_id, flags = random.getrandbits(128), TraceFlags.RANDOM_TRACE_ID
            is_recorded = trace_id & _SAMPLING_BITS < self._bound
        span_id = random.getrandbits(64)
        is_valid = span_id > 0 and trace_id > 0
        facts = (trace_id, span_id, False, FLAGS[flags | bool(is_recorded)], state, is_valid)
        own: SpanContext = tuple.__new__(SpanContext, facts)
        return self.record(name, own, parent, context, kind, attributes) if is_recorded else NonRecordingSpan(own)
