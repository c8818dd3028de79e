"""Tracing: one span for each call on each side, in one trace over every hop (S5).

Names, kinds, parents and attributes are those that opentelemetry-instrumentation-grpc gives, which people know, with
the present names of OpenTelemetry's semantic conventions beside them. How a call ended is its true outcome; no text of
an exception goes into a span. A call that is not sampled costs almost nothing and still hands its trace on.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING
from urllib.parse import unquote

import grpc
from opentelemetry import context as current
from opentelemetry import trace
from opentelemetry.semconv._incubating.attributes import net_attributes, rpc_attributes
from opentelemetry.semconv._incubating.attributes.user_agent_attributes import USER_AGENT_ORIGINAL
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.semconv.attributes.network_attributes import NETWORK_PEER_ADDRESS, NETWORK_PEER_PORT
from opentelemetry.semconv.attributes.server_attributes import SERVER_ADDRESS, SERVER_PORT
from opentelemetry.trace import SpanKind, Status, StatusCode

from interceptors.client import ClientCall, ClientInterceptor
from interceptors.errors import answer_to, error_of_outcome
from interceptors.server import PREVIOUS_ATTEMPTS, Call, MethodDetails, ServerInterceptor
from interceptors.trace_context import extract, inject

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.trace import Span, TracerProvider

    from contracts.errors import ServiceError
    from contracts.method import Method
    from interceptors.client import Finish
    from interceptors.server import Proceed

    Attributes = dict[str, str | int]
    Filter = Callable[[grpc.HandlerCallDetails], bool]

INSTRUMENTATION = "solo60.mesh"
CORRELATION_ID = "solo60.correlation_id"
CALLER = "solo60.caller"
# As the package calls it.
RPC_USER_AGENT = "rpc.user_agent"
REQUEST_ATTEMPTS = f"{rpc_attributes.RPC_REQUEST_METADATA_TEMPLATE}.{PREVIOUS_ATTEMPTS}"
# What is an error of the server; any other refusal is one of its answers (OpenTelemetry's conventions for gRPC).
FAULTS = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


def _always(_details: object) -> bool:
    return True


class ServerTracing(ServerInterceptor):
    """Serves each call inside a span that continues the caller's trace and ends with the call's true outcome.

    Which methods are traced says a filter of opentelemetry-instrumentation-grpc, which is asked once for each method.

    >>> from opentelemetry.instrumentation.grpc import filters
    >>> ask(ServerTracing(trace.get_tracer_provider(), filters.negate(filters.health_check())))
    'hi'
    """

    def __init__(self, tracers: TracerProvider, is_traced: Filter = _always) -> None:
        self._tracer = tracers.get_tracer(INSTRUMENTATION)
        self._is_traced = is_traced
        self._attributes: dict[str, Attributes] = {}

    def applies_to(self, method: Method) -> bool:
        return self._is_traced(MethodDetails(method.path))

    async def intercept(self, call: Call, proceed: Proceed) -> bytes | None:
        method, parent = call.method, extract(call.metadata)
        attributes = self._attributes.get(method.path)
        if attributes is None:
            attributes = self._attributes[method.path] = _attributes_of(method)
        span = self._tracer.start_span(method.path, parent, SpanKind.SERVER, attributes)
        call.trace_id = _recorded_trace(span)
        token = current.attach(trace.set_span_in_context(span, parent))
        try:
            reply = await proceed(call)
        except BaseException as error:
            if span.is_recording():
                _end_server_span(span, call, answer_to(error, call))
            raise
        else:
            if span.is_recording():
                _end_server_span(span, call, None)
            return reply
        finally:
            current.detach(token)


class ClientTracing(ClientInterceptor):
    """Sends each call inside a span of its own, with the trace context and the baggage in its metadata.

    `address_of` tells the "host:port" of a service, by its full name, or "" where that is not known.
    """

    def __init__(self, tracers: TracerProvider, address_of: Callable[[str], str] = lambda _service: "") -> None:
        self._tracer = tracers.get_tracer(INSTRUMENTATION)
        self._address_of = address_of
        self._attributes: dict[str, Attributes] = {}

    def start(self, call: ClientCall) -> Finish | None:
        method = call.method
        attributes = self._attributes.get(method.path)
        if attributes is None:
            address = _server_attributes(self._address_of(method.service))
            attributes = self._attributes[method.path] = _attributes_of(method) | address
        span = self._tracer.start_span(method.path, None, SpanKind.CLIENT, attributes)
        inject(span, call.metadata)
        if not span.is_recording():
            return None
        call.trace_id = _recorded_trace(span)
        return partial(_end_client_span, span)


def _recorded_trace(span: Span) -> str:
    context = span.get_span_context()
    is_recorded = span.is_recording() and context.trace_flags.sampled
    return trace.format_trace_id(context.trace_id) if is_recorded else ""


def _attributes_of(method: Method) -> Attributes:
    # Of two meanings of rpc.method, the one that goes with rpc.service: ADR 3.
    return {
        rpc_attributes.RPC_SYSTEM: "grpc",
        rpc_attributes.RPC_SYSTEM_NAME: "grpc",
        rpc_attributes.RPC_SERVICE: method.service,
        rpc_attributes.RPC_METHOD: method.name,
        **_outcome_attributes(grpc.StatusCode.OK),
    }


def _outcome_attributes(code: grpc.StatusCode) -> Attributes:
    return {rpc_attributes.RPC_GRPC_STATUS_CODE: code.value[0], rpc_attributes.RPC_RESPONSE_STATUS_CODE: code.name}


def _server_attributes(address: str) -> Attributes:
    host, _, port = address.rpartition("/")[2].rpartition(":")
    return {SERVER_ADDRESS: host.strip("[]"), SERVER_PORT: int(port)} if host else {}


@lru_cache(maxsize=1024)
def _peer_attributes(peer: str) -> Mapping[str, str | int]:
    """Return where a call comes from: "ipv4:127.0.0.1:57284" or "ipv6:%5B::1%5D:57284", as gRPC writes it."""
    kind, _, addresses = peer.partition(":")
    ip, _, port = unquote(addresses).partition(",")[0].rpartition(":")
    if kind not in ("ipv4", "ipv6") or not port.isdecimal():
        return {}
    attributes: Attributes = {
        net_attributes.NET_PEER_IP: ip,
        net_attributes.NET_PEER_PORT: port,
        NETWORK_PEER_ADDRESS: ip.strip("[]"),
        NETWORK_PEER_PORT: int(port),
    }
    if ip in ("[::1]", "127.0.0.1"):
        attributes[net_attributes.NET_PEER_NAME] = "localhost"
    return attributes


def _end_server_span(span: Span, call: Call, refusal: ServiceError | None) -> None:
    # All at once, and at the end: each time that attributes are set, the SDK takes two locks and copies them.
    attributes: dict[str, str | int | tuple[str]] = {CORRELATION_ID: call.correlation_id, CALLER: call.caller}
    attributes.update(_peer_attributes(call.context.peer()))
    user_agent = call.metadata.get("user-agent")
    if user_agent:
        attributes[RPC_USER_AGENT] = attributes[USER_AGENT_ORIGINAL] = user_agent
    if call.previous_attempts:
        attributes[REQUEST_ATTEMPTS] = (str(call.previous_attempts),)
    if refusal is not None:
        attributes.update(_failure_attributes(refusal))
        if refusal.code in FAULTS:
            span.set_status(Status(StatusCode.ERROR, refusal.message))
    span.set_attributes(attributes)
    span.end()


def _end_client_span(span: Span, error: BaseException | None) -> None:
    if error is not None:
        refusal = error_of_outcome(error)
        span.set_attributes(_failure_attributes(refusal))
        span.set_status(Status(StatusCode.ERROR, refusal.message))
    span.end()


def _failure_attributes(refusal: ServiceError) -> Attributes:
    return {**_outcome_attributes(refusal.code), ERROR_TYPE: refusal.reason_name() or refusal.code.name}
