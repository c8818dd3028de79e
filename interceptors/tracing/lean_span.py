"""Spans at a fraction of the cost of the SDK's own, for the samplers, processors and exporters of any SDK provider.

A span of the SDK checks and copies its attributes under locks when it starts, when they change, and when it ends.
`LeanSpan` stores what it is given. The SDK's containers, with their checks and limits, are built only when they are
needed: if a handler adds single attributes, events or links, or if somebody reads the attributes.
"""

from __future__ import annotations

import threading
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace._tracer_metrics import NoOpTracerMetrics
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags, Tracer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.context import Context
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import Event, SpanLimits, SpanProcessor
    from opentelemetry.sdk.util import BoundedList
    from opentelemetry.sdk.util.instrumentation import InstrumentationInfo, InstrumentationScope
    from opentelemetry.trace import Link, Span
    from opentelemetry.util.types import Attributes

_NOTHING: Mapping[str, Any] = {}
_CONTAINERS = ("_attributes", "_events", "_links")
# Flags of a trace by number, because making them takes longer than looking them up.
FLAGS = tuple(map(TraceFlags, range((TraceFlags.SAMPLED | TraceFlags.RANDOM_TRACE_ID) + 1)))


class LeanSpan(SdkSpan):
    """Recorded span that behaves as the SDK's own, by the SDK's own code.

    `first` are the attributes from its start, and `rest` those of the first `set_attributes`, unchecked.
    `has_containers` says whether the span has more than these, in the containers of the SDK.
    """

    _end_time: int | None = None
    _status = Status(StatusCode.UNSET)
    _record_exception = True
    _set_status_on_exception = True
    rest = _NOTHING

    def __init__(
        self,
        tracer: SdkTracer,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        kind: SpanKind,
        first: Mapping[str, Any],
        start_time_ns: int,
    ) -> None:
        # The SDK's constructor would build the containers.
        self.tracer = tracer
        self._name = name
        self._context = context
        self._parent = parent
        self._kind = kind
        self._start_time = start_time_ns
        self._lock = threading.Lock()
        self.first = first

    @property
    def has_containers(self) -> bool:
        return not self.__dict__.keys().isdisjoint(_CONTAINERS)

    @property
    def _resource(self) -> Resource:
        return self.tracer.resource

    @property
    def _instrumentation_scope(self) -> InstrumentationScope:
        return self.tracer._instrumentation_scope

    @property
    def _instrumentation_info(self) -> InstrumentationInfo:
        return self.tracer.instrumentation_info

    @property
    def _span_processor(self) -> SpanProcessor:
        return self.tracer.span_processor

    @property
    def _limits(self) -> SpanLimits:
        return self.tracer._span_limits

    @cached_property
    def _attributes(self) -> BoundedAttributes:
        limits = self._limits
        attributes = BoundedAttributes(
            limits.max_span_attributes, self.first, immutable=False, max_value_len=limits.max_span_attribute_length
        )
        attributes._set_items(self.rest)
        attributes._immutable = self._end_time is not None
        return attributes

    @cached_property
    def _events(self) -> BoundedList[Event]:
        return self._new_events()

    @cached_property
    def _links(self) -> BoundedList[Link]:
        return self._new_links(())

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        if self.rest is _NOTHING and self._end_time is None and "_attributes" not in self.__dict__:
            self.rest = dict(attributes)
        else:
            super().set_attributes(attributes)

    def end(self, end_time: int | None = None) -> None:
        if self._end_time is not None:
            super().end()  # logs a warning
            return
        self._end_time = time.time_ns() if end_time is None else end_time
        if "_attributes" in self.__dict__:
            self._attributes._immutable = True
        processor = self.tracer.span_processor
        processor._on_ending(self)
        processor.on_end(self)


class LeanTracer(Tracer):
    """Tracer that starts lean spans in place of those of `sdk`, a tracer of the SDK."""

    def __init__(self, sdk: SdkTracer) -> None:
        self.sdk = sdk

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        *rest: Any,
        **named: Any,
    ) -> Span:
        sdk = self.sdk
        if rest or named or not sdk._is_enabled():  # such as links
            return sdk.start_span(name, context, kind, attributes, *rest, **named)
        parent = trace.get_current_span(context).get_span_context()
        if parent.is_valid:
            trace_id, is_random = parent.trace_id, parent.trace_flags.random_trace_id
        else:
            trace_id, is_random = sdk.id_generator.generate_trace_id(), sdk.id_generator.is_trace_id_random()
        result = sdk.sampler.should_sample(context, trace_id, name, kind, attributes, ())
        flags = FLAGS[result.decision.is_sampled() | is_random * TraceFlags.RANDOM_TRACE_ID]
        span_id = sdk.id_generator.generate_span_id()
        own = SpanContext(trace_id, span_id, is_remote=False, trace_flags=flags, trace_state=result.trace_state)
        if not result.decision.is_recording():
            return NonRecordingSpan(own)
        return self.record(name, own, context, kind, result.attributes)

    def record(
        self,
        name: str,
        own: SpanContext,
        context: Context | None,
        kind: SpanKind,
        attributes: Attributes,
        start_time_ns: int | None = None,
    ) -> LeanSpan:
        """Start a span with the given identity, whatever the sampler says."""
        sdk = self.sdk
        parent = trace.get_current_span(context).get_span_context()
        started_ns = time.time_ns() if start_time_ns is None else start_time_ns
        span = LeanSpan(sdk, name, own, parent if parent.is_valid else None, kind, dict(attributes or ()), started_ns)
        sdk.span_processor.on_start(span, parent_context=context)
        return span

    # The SDK's method uses only `start_span` of its tracer.
    start_as_current_span = SdkTracer.start_as_current_span


def lean_tracer(tracer: Tracer) -> Tracer:
    """Return a tracer with lean spans in place of a tracer of the SDK, or else `tracer` itself.

    A tracer that counts its spans, as `OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED` demands, counts only the SDK's own.
    """
    if type(tracer) is SdkTracer and isinstance(tracer._tracer_metrics, NoOpTracerMetrics):
        return LeanTracer(tracer)
    return tracer
