"""Tracing: one span per call on each side, in one trace across all hops.

Names, kinds, parents and attributes follow OpenTelemetry's semantic conventions
(`interceptors.tracing.span_attributes`). The attributes of opentelemetry-instrumentation-grpc are added on request. A
span shows the call's true outcome and never an exception's text. A call that is not sampled costs almost nothing and
still propagates its trace. If it fails or is slow, its span can be recorded at its end
(`interceptors.tracing.late_recorder`).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from opentelemetry import context as current
from opentelemetry.semconv._incubating.attributes import rpc_attributes
from opentelemetry.trace import NonRecordingSpan, SpanKind, Status, StatusCode, TraceFlags, get_current_span

from contracts.codes import SERVER_SPAN_ERRORS
from contracts.status import error_of_outcome
from interceptors.chain.application import MethodDetails
from interceptors.chain.client import ClientCall, ClientInterceptor
from interceptors.chain.metadata import PREVIOUS_ATTEMPTS
from interceptors.chain.server import ServerInterceptor
from interceptors.errors.caller_error import caller_error
from interceptors.tracing.late_recorder import LateRecorder
from interceptors.tracing.lean_span import LeanSpan, SharedAttributes
from interceptors.tracing.lean_tracer import LeanTracer
from interceptors.tracing.span_attributes import (
    SpanAttributes,
    attributes_of_target,
    client_error_type,
    server_error_type,
    tracer_of,
)
from interceptors.tracing.trace_context import context_of, extract, inject, remote_parent, uses_w3c, with_span

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, SpanContext, Tracer, TracerProvider

    from contracts.method import Method
    from interceptors.chain.call import Call, Finish, Start
    from interceptors.chain.client import ClientFinish, ClientStart

    Filter = Callable[[grpc.HandlerCallDetails], bool]

INSTRUMENTATION = "solo60.mesh"
CORRELATION_ID_ATTRIBUTE = "solo60.correlation_id"
REQUEST_ATTEMPTS_ATTRIBUTE = f"{rpc_attributes.RPC_REQUEST_METADATA_TEMPLATE}.{PREVIOUS_ATTEMPTS}"


def _always(_details: object) -> bool:
    return True


class ServerTracing(ServerInterceptor):
    """Server interceptor that serves each call in a span, which continues the caller's trace.

    `is_traced` is a filter of opentelemetry-instrumentation-grpc, and never called during a call. With `old_names_too`,
    spans also carry the attributes of earlier conventions. With `slow_s`, calls of traces that are not sampled are
    recorded at their end if they failed by the server's fault, or if they are unary and took longer. That needs tracers
    of OpenTelemetry's SDK.

    >>> from opentelemetry import trace
    >>> from opentelemetry.instrumentation.grpc import filters
    >>> call_echo(ServerTracing(trace.get_tracer_provider(), filters.negate(filters.health_check())))
    'hi'
    """

    def __init__(
        self,
        tracers: TracerProvider,
        is_traced: Filter = _always,
        *,
        old_names_too: bool = False,
        slow_s: float | None = None,
    ) -> None:
        tracer = tracer_of(tracers, INSTRUMENTATION)
        self._begin = _begin_of(tracer)
        self._late = LateRecorder.of(tracer, slow_s)
        self._is_traced = is_traced
        self._names = SpanAttributes(old_names_too=old_names_too)

    def applies_to(self, method: Method) -> bool:
        return self._is_traced(MethodDetails(method.path))

    def start_of(self, method: Method) -> Start:
        name, kind, attributes = method.full_name, SpanKind.SERVER, self._names.of_method(method)
        begin, late, end = self._begin, self._late, self._end

        def start(call: Call) -> Finish | None:
            parent, context = remote_parent(call.metadata) if uses_w3c() else None, None
            if parent is None:
                context = extract(call.metadata)
                parent = get_current_span(context).get_span_context()
            span = begin(name, parent, kind, attributes, context)
            # Never detached, because the context ends with the task of this call.
            current.attach(with_span(span, context))
            if type(span) is not NonRecordingSpan and span.is_recording():
                call.trace_id, call.span_id = _sampled_ids(span)
                return partial(end, span)
            return None if late is None else partial(end_skipped, late, span, parent, context)

        def end_skipped(
            late: LateRecorder,
            skipped: Span,
            parent: SpanContext,
            context: Context | None,
            call: Call,
            error: BaseException | None,
        ) -> None:
            rejection = None if error is None else caller_error(error, call)
            is_fault = rejection is not None and server_error_type(rejection) != ""
            if not (is_fault or late.is_slow(method, call.began_s)):
                return
            span = late.tracer.record_late(skipped, name, parent, kind, attributes, context, call.began_s)
            # So that the log lines that follow have the ids of the span, such as that of an internal error.
            current.attach(with_span(span, context))
            call.trace_id, call.span_id = _sampled_ids(span)
            end(span, call, error)

        return start

    def _end(self, span: Span, call: Call, error: BaseException | None) -> None:
        rejection = None if error is None else caller_error(error, call)
        peer, user_agent = call.servicer_context.peer(), call.metadata.get("user-agent", "")
        of_caller = self._names.of_caller(call.context.caller, peer, user_agent)
        attributes: dict[str, str | int | tuple[str]] = {CORRELATION_ID_ATTRIBUTE: call.context.correlation_id}
        if PREVIOUS_ATTEMPTS in call.metadata and call.previous_attempts:
            attributes[REQUEST_ATTEMPTS_ATTRIBUTE] = (str(call.previous_attempts),)
        # The attributes of a rejection replace those of the start, and `end_with` only adds attributes.
        if rejection is None and isinstance(span, LeanSpan):
            span.end_with(of_caller, attributes)
            return
        if rejection is not None:
            error_type = server_error_type(rejection)
            attributes.update(self._names.of_rejection(rejection, error_type))
            if error_type:
                span.set_status(Status(StatusCode.ERROR, rejection.message))
        span.set_attributes({**of_caller, **attributes})
        span.end()


class ClientTracing(ClientInterceptor):
    """Client interceptor that sends each call in a span, with trace context and baggage in the metadata.

    `address_of` returns the gRPC target of a service ("host:port", "dns:///host:port") by its full name, or "" if
    unknown. It is called when a stub is made. `old_names_too` adds the attributes of earlier conventions. `slow_s` is
    as in `ServerTracing`.
    """

    def __init__(
        self,
        tracers: TracerProvider,
        address_of: Callable[[str], str] = lambda _service: "",
        *,
        old_names_too: bool = False,
        slow_s: float | None = None,
    ) -> None:
        tracer = tracer_of(tracers, INSTRUMENTATION)
        self._begin = _begin_of(tracer)
        self._late = LateRecorder.of(tracer, slow_s)
        self._names = SpanAttributes(old_names_too=old_names_too)
        self._address_of = address_of

    def start_of(self, method: Method) -> ClientStart:
        name, kind = method.full_name, SpanKind.CLIENT
        target = attributes_of_target(self._address_of(method.service))
        attributes = SharedAttributes(self._names.of_method(method) | target)
        begin, late, end = self._begin, self._late, self._end

        def start(call: ClientCall) -> ClientFinish | None:
            context = current.get_current()
            parent = get_current_span(context).get_span_context()
            span = begin(name, parent, kind, attributes, context)
            inject(span, context, call.metadata)
            if type(span) is not NonRecordingSpan and span.is_recording():
                call.trace_id, call.span_id = _sampled_ids(span)
                return partial(end, span)
            return None if late is None else partial(end_skipped, late, span, parent, context)

        def end_skipped(
            late: LateRecorder,
            skipped: Span,
            parent: SpanContext,
            context: Context,
            call: ClientCall,
            error: BaseException | None,
        ) -> None:
            is_fault = error is not None and error_of_outcome(error).code in SERVER_SPAN_ERRORS
            if not (is_fault or late.is_slow(method, call.began_s)):
                return
            span = late.tracer.record_late(skipped, name, parent, kind, attributes, context, call.began_s)
            call.trace_id, call.span_id = _sampled_ids(span)
            end(span, call, error)

        return start

    def _end(self, span: Span, _call: ClientCall, error: BaseException | None) -> None:
        if error is not None:
            rejection = error_of_outcome(error)
            span.set_attributes(self._names.of_rejection(rejection, client_error_type(error, rejection)))
            span.set_status(Status(StatusCode.ERROR, rejection.message))
        span.end()


def _begin_of(tracer: Tracer) -> Callable[..., Span]:
    """Return the method `begin` of a lean tracer, or a function with the same parameters for any other tracer."""
    if isinstance(tracer, LeanTracer):
        return tracer.begin

    def begin(
        name: str, parent: SpanContext, kind: SpanKind, attributes: SharedAttributes, context: Context | None
    ) -> Span:
        return tracer.start_span(name, context_of(parent) if context is None else context, kind, attributes)

    return begin


def _sampled_ids(span: Span) -> tuple[str, str]:
    # Unpack the tuple, because SpanContext's properties take longer.
    trace_id, span_id, _, flags, _, _ = span.get_span_context()
    if not flags & TraceFlags.SAMPLED:
        return "", ""
    return trace_id.to_bytes(16).hex(), span_id.to_bytes(8).hex()
