"""Tracing: one span per call on each side, in one trace across all hops.

Names, kinds, parents and attributes follow OpenTelemetry's semantic conventions
(`interceptors.tracing.span_attributes`). The attributes of opentelemetry-instrumentation-grpc are added on request. A
span shows the call's true outcome and never an exception's text. A call that is not sampled costs almost nothing and
still propagates its trace.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from opentelemetry import context as current
from opentelemetry import trace
from opentelemetry.semconv._incubating.attributes import rpc_attributes
from opentelemetry.trace import SpanKind, Status, StatusCode, TraceFlags

from contracts.status import error_of_outcome
from interceptors.chain.application import MethodDetails
from interceptors.chain.client import ClientCall, ClientInterceptor
from interceptors.chain.metadata import PREVIOUS_ATTEMPTS
from interceptors.chain.server import ServerInterceptor
from interceptors.errors.caller_error import caller_error
from interceptors.tracing.span_attributes import (
    SpanAttributes,
    attributes_of_target,
    client_error_type,
    server_error_type,
    tracer_of,
)
from interceptors.tracing.trace_context import extract, hex_of_span, hex_of_trace, inject

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Token

    import grpc
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, TracerProvider

    from contracts.errors import ServiceError
    from contracts.method import Method
    from interceptors.chain.call import Call, Finish
    from interceptors.tracing.span_attributes import Attributes

    Filter = Callable[[grpc.HandlerCallDetails], bool]

INSTRUMENTATION = "solo60.mesh"
CORRELATION_ID_ATTRIBUTE = "solo60.correlation_id"
REQUEST_ATTEMPTS_ATTRIBUTE = f"{rpc_attributes.RPC_REQUEST_METADATA_TEMPLATE}.{PREVIOUS_ATTEMPTS}"


def _always(_details: object) -> bool:
    return True


class ServerTracing(ServerInterceptor):
    """Server interceptor that serves each call in a span, which continues the caller's trace.

    `is_traced` is a filter of opentelemetry-instrumentation-grpc and is called once per method. With `old_names_too`,
    spans also carry the attributes of earlier conventions.

    >>> from opentelemetry.instrumentation.grpc import filters
    >>> call_echo(ServerTracing(trace.get_tracer_provider(), filters.negate(filters.health_check())))
    'hi'
    """

    def __init__(self, tracers: TracerProvider, is_traced: Filter = _always, *, old_names_too: bool = False) -> None:
        self._tracer = tracer_of(tracers, INSTRUMENTATION)
        self._is_traced = is_traced
        self._names = SpanAttributes(old_names_too=old_names_too)
        # For each method, its span's name and constant attributes.
        self._methods: dict[str, tuple[str, Attributes]] = {}

    def applies_to(self, method: Method) -> bool:
        return self._is_traced(MethodDetails(method.path))

    def start(self, call: Call) -> Finish:
        method, parent = call.method, extract(call.metadata)
        known = self._methods.get(method.path)
        if known is None:
            known = self._methods[method.path] = method.full_name, self._names.of_method(method)
        span = self._tracer.start_span(known[0], parent, SpanKind.SERVER, known[1])
        call.trace_id, call.span_id = _recorded_ids(span)
        token = current.attach(trace.set_span_in_context(span, parent))
        return partial(self._finish, call, span, token)

    def _finish(self, call: Call, span: Span, token: Token[Context], error: BaseException | None) -> None:
        if span.is_recording():
            self._end(span, call, None if error is None else caller_error(error, call))
        current.detach(token)

    def _end(self, span: Span, call: Call, rejection: ServiceError | None) -> None:
        # Set all attributes at once at the end: each time, the SDK takes two locks and copies them.
        attributes: dict[str, str | int | tuple[str]] = {CORRELATION_ID_ATTRIBUTE: call.context.correlation_id}
        peer, user_agent = call.servicer_context.peer(), call.metadata.get("user-agent", "")
        attributes.update(self._names.of_caller(call.context.caller, peer, user_agent))
        if call.previous_attempts:
            attributes[REQUEST_ATTEMPTS_ATTRIBUTE] = (str(call.previous_attempts),)
        if rejection is not None:
            error_type = server_error_type(rejection)
            attributes.update(self._names.of_rejection(rejection, error_type))
            if error_type:
                span.set_status(Status(StatusCode.ERROR, rejection.message))
        span.set_attributes(attributes)
        span.end()


class ClientTracing(ClientInterceptor):
    """Client interceptor that sends each call in a span, with trace context and baggage in the metadata.

    `address_of` returns the gRPC target of a service ("host:port", "dns:///host:port") by its full name, or "" if
    unknown. `old_names_too` adds the attributes of earlier conventions.
    """

    def __init__(
        self,
        tracers: TracerProvider,
        address_of: Callable[[str], str] = lambda _service: "",
        *,
        old_names_too: bool = False,
    ) -> None:
        self._tracer = tracer_of(tracers, INSTRUMENTATION)
        self._names = SpanAttributes(old_names_too=old_names_too)
        self._address_of = address_of
        # For each method, its span's name and constant attributes.
        self._methods: dict[str, tuple[str, Attributes]] = {}

    def start(self, call: ClientCall) -> Finish | None:
        method = call.method
        known = self._methods.get(method.path)
        if known is None:
            target = attributes_of_target(self._address_of(method.service))
            known = self._methods[method.path] = method.full_name, self._names.of_method(method) | target
        span = self._tracer.start_span(known[0], None, SpanKind.CLIENT, known[1])
        inject(span, call.metadata)
        if not span.is_recording():
            return None
        call.trace_id, call.span_id = _recorded_ids(span)
        return partial(self._end, span)

    def _end(self, span: Span, error: BaseException | None) -> None:
        if error is not None:
            rejection = error_of_outcome(error)
            span.set_attributes(self._names.of_rejection(rejection, client_error_type(error, rejection)))
            span.set_status(Status(StatusCode.ERROR, rejection.message))
        span.end()


def _recorded_ids(span: Span) -> tuple[str, str]:
    # Unpack the tuple, because SpanContext's properties take longer.
    trace_id, span_id, _, flags, _, _ = span.get_span_context()
    if not flags & TraceFlags.SAMPLED or not span.is_recording():
        return "", ""
    return hex_of_trace(trace_id), hex_of_span(span_id)
