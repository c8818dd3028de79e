"""Trace sampling. Skipping a trace is cheap, because most traces are skipped."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, Tracer

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span

    from mesh.telemetry.span_exporting import ReportingExporter

_RANDOM = TraceFlags(TraceFlags.RANDOM_TRACE_ID)
_SAMPLING_BITS = TraceIdRatioBased.TRACE_ID_LIMIT


class SamplingProvider(TracerProvider):
    """Tracer provider that records `ratio` of the traces that begin here, and every trace that its caller records.

    The sampling is that of the SDK's `ParentBased(TraceIdRatioBased(ratio))`. Spans that are not recorded never reach
    the SDK, which takes more than twice as long to skip them. `exporters` receive the recorded spans.
    """

    def __init__(self, ratio: float, **options: Any) -> None:
        by_id = TraceIdRatioBased(ratio)
        self._bound = by_id.bound
        self.exporters: list[ReportingExporter] = []
        super().__init__(sampler=ParentBased(by_id), id_generator=_RecordedIds(by_id.bound), **options)

    def get_tracer(self, *scope: Any, **named: Any) -> Tracer:
        return _SamplingTracer(super().get_tracer(*scope, **named), self._bound)


class _RecordedIds(RandomIdGenerator):
    """Generator of trace ids below the sampling bound, because the SDK starts only spans that are recorded."""

    def __init__(self, bound: int) -> None:
        self._bound = bound

    def generate_trace_id(self) -> int:
        return random.getrandbits(64) << 64 | (random.randrange(self._bound) or 1)  # noqa: S311 - no secret


class _SamplingTracer(Tracer):
    def __init__(self, tracer: Tracer, bound: int) -> None:
        self._tracer = tracer
        self._bound = bound

    def start_span(self, name: str, context: Context | None = None, *rest: Any, **named: Any) -> Span:
        parent = trace.get_current_span(context).get_span_context()
        if parent.is_valid:
            trace_id, state, is_recorded = parent.trace_id, parent.trace_state, parent.trace_flags.sampled
            flags = TraceFlags(parent.trace_flags & TraceFlags.RANDOM_TRACE_ID)
        else:
            trace_id, state, flags = random.getrandbits(128), None, _RANDOM
            is_recorded = trace_id & _SAMPLING_BITS < self._bound
        if is_recorded:
            return self._tracer.start_span(name, context, *rest, **named)
        span_id = random.getrandbits(64)
        return NonRecordingSpan(SpanContext(trace_id, span_id, is_remote=False, trace_flags=flags, trace_state=state))

    # The SDK's method uses only `start_span` of its tracer.
    start_as_current_span = SdkTracer.start_as_current_span
