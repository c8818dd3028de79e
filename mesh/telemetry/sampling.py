"""Trace sampling. Skipping a trace is cheap, because most traces are skipped."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from interceptors.tracing.lean_tracer import LeanTracer, Listeners
from interceptors.tracing.trace_context import FLAGS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.context import Context
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Span, SpanKind, Tracer

    from mesh.telemetry.span_exporting import ReportingExporter

_SAMPLING_BITS = TraceIdRatioBased.TRACE_ID_LIMIT
_SAMPLED, _INHERITED = TraceFlags.SAMPLED, TraceFlags.SAMPLED | TraceFlags.RANDOM_TRACE_ID
# Flags of a trace that begins here.
_RECORDED, _SKIPPED = FLAGS[_INHERITED], FLAGS[TraceFlags.RANDOM_TRACE_ID]
# Looked up once: in a server, this code is not in the processor's cache, so each lookup takes longer.
_random_bits, _new_tuple = random.getrandbits, tuple.__new__


class SamplingProvider(TracerProvider):
    """Tracer provider that records `ratio` of the traces that begin here, and every trace that its caller records.

    The sampling is that of the SDK's `ParentBased(TraceIdRatioBased(ratio))`, without its cost. `exporters` receive the
    recorded spans.
    """

    def __init__(self, ratio: float, resource: Resource | None = None, *, shutdown_on_exit: bool = True) -> None:
        by_id = TraceIdRatioBased(ratio)
        self._bound = by_id.bound
        self.exporters: list[ReportingExporter] = []
        self._listeners = Listeners()
        super().__init__(ParentBased(by_id), resource, shutdown_on_exit=shutdown_on_exit)

    def get_tracer(self, *scope: Any, **named: Any) -> Tracer:
        tracer = super().get_tracer(*scope, **named)
        if not isinstance(tracer, SdkTracer):
            return tracer
        return _SamplingTracer(tracer, self._listeners, self._bound)

    def add_span_processor(self, span_processor: SpanProcessor) -> None:
        super().add_span_processor(span_processor)
        self._listeners.add(span_processor)


class _SamplingTracer(LeanTracer):
    def __init__(self, tracer: SdkTracer, listeners: Listeners, bound: int) -> None:
        super().__init__(tracer, listeners)
        self._bound = bound

    def begin(
        self,
        name: str,
        parent: SpanContext,
        kind: SpanKind,
        attributes: Mapping[str, Any],
        context: Context | None = None,
    ) -> Span:
        # A SpanContext is a tuple. Its constructor and its properties take longer than the rest of this method.
        trace_id, _, _, parent_flags, state, has_parent = parent
        if has_parent:
            flags = FLAGS[parent_flags & _INHERITED]
        else:
            trace_id = _random_bits(128)
            flags = _RECORDED if trace_id & _SAMPLING_BITS < self._bound else _SKIPPED
        span_id = _random_bits(64)
        own: SpanContext = _new_tuple(
            SpanContext, (trace_id, span_id, False, flags, state, span_id > 0 and trace_id > 0)
        )
        if flags & _SAMPLED:
            return self.record(name, own, parent, kind, attributes, context)
        return NonRecordingSpan(own)
