"""Tracing: one span for each call on each side, in one trace over every hop (S5).

The spans are begun by opentelemetry-instrumentation-grpc, so names, kinds, parents and attributes are those its users
know. How a span ends is decided here, because there the instrumentation errs: it leaves failed calls without a status
and the spans of cancelled calls open. No exception text goes into a span.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from opentelemetry.instrumentation.grpc._aio_server import OpenTelemetryAioServerInterceptor
from opentelemetry.instrumentation.grpc._client import OpenTelemetryClientInterceptor
from opentelemetry.instrumentation.grpc._utilities import _server_status
from opentelemetry.propagate import inject
from opentelemetry.semconv._incubating.attributes.rpc_attributes import RPC_GRPC_STATUS_CODE
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.trace import Status, StatusCode

from contracts.errors import Cancelled, Internal, ServiceError
from interceptors.client import ClientCall, ClientInterceptor
from interceptors.errors import answer_to
from interceptors.server import Call, ServerInterceptor

if TYPE_CHECKING:
    from opentelemetry.trace import Span, TracerProvider

    from contracts.method import Method
    from interceptors.client import Finish
    from interceptors.server import Proceed

INSTRUMENTATION = "solo60.mesh"
CORRELATION_ID = "solo60.correlation_id"
CALLER = "solo60.caller"


class _Details(NamedTuple):
    method: str


class ServerTracing(ServerInterceptor):
    """Serves each call inside a span that continues the caller's trace and ends with the call's true outcome."""

    def __init__(self, tracers: TracerProvider, untraced_services: frozenset[str] = frozenset()) -> None:
        self._spans = OpenTelemetryAioServerInterceptor(tracers.get_tracer(INSTRUMENTATION))
        self._untraced_services = untraced_services

    def applies_to(self, method: Method) -> bool:
        return method.service not in self._untraced_services

    async def intercept(self, call: Call, proceed: Proceed) -> bytes | None:
        spans, details = self._spans, _Details(call.method.path)
        with spans._set_remote_context(call.context), spans._start_span(details, call.context) as span:  # noqa: SLF001 - the package offers no public way to begin a span and leave its end to the caller
            try:
                return await proceed(call)
            except BaseException as error:  # noqa: BLE001 - raised again below, where the span cannot record its text
                failure = error
                refusal = answer_to(error, call)
                _mark(span, refusal)
                span.set_status(_server_status(refusal.code, refusal.message))
            finally:
                span.set_attributes({CORRELATION_ID: call.correlation_id, CALLER: call.caller})
        try:
            raise failure
        finally:
            del failure  # or the traceback and this frame would keep each other alive


class ClientTracing(ClientInterceptor):
    """Sends each call inside a span of its own, with the trace context in its metadata."""

    def __init__(self, tracers: TracerProvider) -> None:
        self._spans = OpenTelemetryClientInterceptor(tracers.get_tracer(INSTRUMENTATION))

    def start(self, call: ClientCall) -> Finish:
        trace_context: dict[str, str] = {}
        with self._spans._start_span(call.method.path, end_on_exit=False) as span:  # noqa: SLF001 - as above
            inject(trace_context)
        call.metadata.extend(trace_context.items())
        return partial(_end_client_span, span)


def _end_client_span(span: Span, error: BaseException | None) -> None:
    if error is not None:
        refusal = error if isinstance(error, ServiceError) else _local_failure(error)
        _mark(span, refusal)
        span.set_status(Status(StatusCode.ERROR, refusal.message))
    span.end()


def _local_failure(error: BaseException) -> ServiceError:
    return Internal("The call failed before it was answered.") if isinstance(error, Exception) else Cancelled()


def _mark(span: Span, refusal: ServiceError) -> None:
    span.set_attribute(RPC_GRPC_STATUS_CODE, refusal.code.value[0])
    span.set_attribute(ERROR_TYPE, refusal.reason_name() or refusal.code.name)
