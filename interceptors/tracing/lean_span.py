"""Spans at a fraction of the cost of the SDK's own, for the samplers, processors and exporters of any SDK provider.

A span of the SDK checks and copies its attributes under locks when it starts, when they change, and when it ends.
`LeanSpan` stores its attributes unchecked. The SDK's containers, with their checks and limits, are made at their first
use: when a handler adds a single attribute, an event or a link, or when code reads the attributes.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import get_current
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace._tracer_metrics import NoOpTracerMetrics
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags, Tracer

from interceptors.tracing.trace_context import FLAGS, context_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.context import Context
    from opentelemetry.trace import Span
    from opentelemetry.util.types import Attributes

_NOTHING: Mapping[str, Any] = {}
_IS_VALID = 5
# One lock for all spans, held for some nanoseconds and never while other code runs.
_changing = threading.Lock()


class SharedAttributes(dict[str, Any]):
    """Attributes of many spans, which nothing changes. `encoded` is for an exporter, which may keep their bytes."""

    __slots__ = ("encoded",)

    def __init__(self, attributes: Mapping[str, Any] = _NOTHING) -> None:
        super().__init__(attributes)
        self.encoded: bytes | None = None


_NONE_SHARED = SharedAttributes()


class LeanSpan(SdkSpan):
    """Recorded span that behaves like a span of the SDK, by the SDK's own code.

    `first` are the attributes from its start. `shared` and `rest` are those of `end_with`; `rest` may also be those of
    the first `set_attributes`. None of them is checked. A span that `is_plain` has nothing else: neither events nor
    links, and no attributes in a container of the SDK.
    """

    tracer: LeanTracer
    first: Mapping[str, Any]
    shared: SharedAttributes = _NONE_SHARED
    rest: Mapping[str, Any] = _NOTHING
    is_plain = True
    _context: SpanContext
    _end_time: int | None = None
    _status = Status(StatusCode.UNSET)
    _record_exception = True
    _set_status_on_exception = True

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any field of the SDK's span
        """Make a field of the SDK's span at its first use, once for all threads. Most spans never need it."""
        make = _FIELDS.get(name)
        if make is None:
            raise AttributeError(name=name, obj=self)
        return self.__dict__.setdefault(name, make(self))

    def get_span_context(self) -> SpanContext:
        return self._context

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        copied = dict(attributes)
        with _changing:
            is_first = self.rest is _NOTHING and self.is_plain and self._end_time is None
            if is_first:
                self.rest = copied
        if not is_first:
            super().set_attributes(attributes)

    def end_with(self, shared: SharedAttributes, attributes: Mapping[str, Any]) -> None:
        """Set new attributes and end, as `set_attributes` and `end` do.

        No attribute may have a key of the others or of those from the start, and nothing may change them later.
        """
        ended_ns = time.time_ns()
        with _changing:
            is_first = self.rest is _NOTHING and self.is_plain and self._end_time is None
            if is_first:
                self.shared, self.rest, self._end_time = shared, attributes, ended_ns
        if is_first:
            for report in self.tracer.listeners.of_ends:
                report(self)
        else:
            self.set_attributes({**shared, **attributes})
            self.end(ended_ns)

    def end(self, end_time: int | None = None) -> None:
        ended_ns = time.time_ns() if end_time is None else end_time
        with _changing:
            is_first = self._end_time is None
            if is_first:
                self._end_time = ended_ns
        if not is_first:
            super().end()  # logs a warning
            return
        if not self.is_plain and "_attributes" in self.__dict__:
            self.__dict__["_attributes"]._immutable = True
        for report in self.tracer.listeners.of_ends:
            report(self)


def _checked_attributes(span: LeanSpan) -> BoundedAttributes:
    with _changing:
        span.is_plain = False
    limits = span.tracer.sdk._span_limits
    length = limits.max_span_attribute_length
    attributes = BoundedAttributes(limits.max_span_attributes, span.first, immutable=False, max_value_len=length)
    attributes._set_items(span.shared)
    attributes._set_items(span.rest)
    attributes._immutable = span._end_time is not None
    return attributes


def _events(span: LeanSpan) -> BoundedList[Any]:
    span.is_plain = False
    return BoundedList(span.tracer.sdk._span_limits.max_events)


def _links(span: LeanSpan) -> BoundedList[Any]:
    span.is_plain = False
    return BoundedList(span.tracer.sdk._span_limits.max_links)


_FIELDS: dict[str, Callable[[LeanSpan], Any]] = {
    "_attributes": _checked_attributes,
    "_events": _events,
    "_links": _links,
    "_lock": lambda _span: threading.Lock(),
    "_limits": lambda span: span.tracer.sdk._span_limits,
    "_resource": lambda span: span.tracer.sdk.resource,
    "_instrumentation_scope": lambda span: span.tracer.sdk._instrumentation_scope,
    "_instrumentation_info": lambda span: span.tracer.sdk.instrumentation_info,
    "_span_processor": lambda span: span.tracer.sdk.span_processor,
}


class Listeners:
    """Functions of span processors that do something when a span starts or ends. Most processors await its end only."""

    def __init__(self, *processors: SpanProcessor) -> None:
        self.of_starts: list[Callable[..., None]] = []
        self.of_ends: list[Callable[[LeanSpan], None]] = []
        self._number_before_ends = 0
        for each in processors:
            self.add(each)

    def add(self, processor: SpanProcessor) -> None:
        """Add the functions of a processor. All tracers of the provider call them from now on."""
        kind = type(processor)
        if kind.on_start not in (SpanProcessor.on_start, BatchSpanProcessor.on_start):
            self.of_starts.append(processor.on_start)
        if kind._on_ending not in (SpanProcessor._on_ending, BatchSpanProcessor._on_ending):
            self.of_ends.insert(self._number_before_ends, processor._on_ending)
            self._number_before_ends += 1
        self.of_ends.append(processor.on_end)


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
        return self.begin(name, parent, kind, dict(attributes or _NOTHING), context)

    def begin(
        self,
        name: str,
        parent: SpanContext,
        kind: SpanKind,
        attributes: Mapping[str, Any],
        context: Context | None = None,
    ) -> Span:
        """Start a span below `parent`, which may be invalid. Nothing may change `attributes` later.

        `context` is that of the parent, or None if it has nothing but the parent.
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
        return self.record(name, own, parent, context, kind, dict(result.attributes or _NOTHING))

    def record(
        self,
        name: str,
        own: SpanContext,
        parent: SpanContext,
        context: Context | None,
        kind: SpanKind,
        attributes: Mapping[str, Any],
        start_time_ns: int | None = None,
    ) -> LeanSpan:
        """Start a span with the ids and flags of `own`, without the sampler. `parent` may be invalid."""
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
            report(span, parent_context=context)
        return span

    def record_late(
        self,
        skipped: Span,
        name: str,
        context: Context | None,
        kind: SpanKind,
        attributes: Mapping[str, Any],
        start_time_ns: int,
    ) -> Span:
        """Start a recorded span with the ids of `skipped`, a span that the sampler has not recorded.

        Exporters get it, although its trace is not sampled. A disabled tracer records nothing, and returns `skipped`.
        """
        if not self.sdk._is_enabled():
            return skipped
        trace_id, span_id, is_remote, flags, state, _ = skipped.get_span_context()
        own = SpanContext(trace_id, span_id, is_remote, FLAGS[flags | TraceFlags.SAMPLED], state)
        parent = trace.get_current_span(context).get_span_context()
        return self.record(name, own, parent, context, kind, attributes, start_time_ns)

    # The SDK's method uses only `start_span` of its tracer.
    start_as_current_span = SdkTracer.start_as_current_span


def lean_tracer(tracer: Tracer) -> Tracer:
    """Return a tracer with lean spans in place of a tracer of the SDK, or else `tracer` itself.

    With `OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED`, keep the tracer, because it counts only the SDK's own spans.
    """
    if type(tracer) is SdkTracer and isinstance(tracer._tracer_metrics, NoOpTracerMetrics):
        return LeanTracer(tracer)
    return tracer
