"""Spans at a fraction of the cost of the SDK's own, for the samplers, processors and exporters of any SDK provider.

A span of the SDK checks and copies its attributes under locks when it starts, when they change, and when it ends.
`LeanSpan` stores its attributes unchecked. The SDK's containers, with their checks and limits, are made at their first
use: when a handler adds a single attribute, an event or a link, or when code reads the attributes.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import Status, StatusCode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.trace import SpanContext

    from interceptors.tracing.lean_tracer import LeanTracer

_NOTHING: Mapping[str, Any] = {}
# One lock for all spans, held for some nanoseconds and never while other code runs.
_changing = threading.Lock()


class SharedAttributes(dict[str, Any]):
    """Attributes that many spans share, so nothing may change them. An exporter may store their bytes in `encoded`."""

    __slots__ = ("encoded",)

    def __init__(self, attributes: Mapping[str, Any] = _NOTHING) -> None:
        super().__init__(attributes)
        self.encoded: bytes | None = None


_NONE_SHARED = SharedAttributes()


class LeanSpan(SdkSpan):
    """Recorded span that behaves like a span of the SDK, by the SDK's own code.

    `first` are the attributes of its start, `shared` and `rest` those of `end_with`. Without `end_with`, `rest` are the
    attributes of the first `set_attributes`. All of them are unchecked. A span that `is_plain` has neither events nor
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
        """Add attributes and end the span, like `set_attributes` and `end` in one step.

        All keys must differ from each other and from the keys of the start. Nothing may change `attributes` later.
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
