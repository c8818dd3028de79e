"""Prometheus metrics of calls on both sides: number, duration, outcome and caller.

Names, labels and codes are those of go-grpc-prometheus, so existing dashboards and alerts work: `grpc_code` is
"NotFound". Two labels are added: `reason` is the contract's ("SLOT_TAKEN", "OVERLOADED", "CIRCUIT_OPEN"), and `caller`
is the owner of the call's API key. Every label has few values: methods and reasons come from contracts, callers from
the keyring.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prometheus_client import Counter

from contracts.status import error_of_outcome
from interceptors.chain.client import ClientCall, ClientInterceptor
from interceptors.chain.metadata import PREVIOUS_ATTEMPTS
from interceptors.chain.server import ServerInterceptor
from interceptors.errors.caller_error import caller_error
from interceptors.keys.interceptor import SUPERSEDED_KEY
from interceptors.metrics.call_counts import METHOD_LABELS, OK, CallCounts, labels_of
from interceptors.metrics.registry import metrics_of

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from contracts.method import Method
    from interceptors.chain.call import Call, Finish, MessageHook, Start
    from interceptors.chain.client import ClientFinish, ClientStart, MessageListener

CLIENT_OUTCOME_LABELS = ("grpc_code", "reason")
SERVER_OUTCOME_LABELS = (*CLIENT_OUTCOME_LABELS, "caller")
# CLIENT_OUTCOME_LABELS of a successful call.
CLIENT_SUCCESS = OK, ""


class ServerMetrics(ServerInterceptor):
    """Server interceptor that counts calls and messages, including calls that inner interceptors reject.

    The single request of a call counts as received when the call arrives. Messages of a stream count as the handler
    reads and writes them. The ids of a recorded call's trace and span become the exemplar of its duration. Several
    instances may share a registry. Calls of `unmeasured_services` are not counted.

    >>> from prometheus_client import CollectorRegistry
    >>> registry = CollectorRegistry()
    >>> call_echo(ServerMetrics(registry), text="hi")
    'hi'
    >>> echo = {"grpc_type": "unary", "grpc_service": "solo60.example.v1.EchoService", "grpc_method": "Echo"}
    >>> registry.get_sample_value("grpc_server_started_total", echo)
    1
    """

    def __init__(self, registry: CollectorRegistry, unmeasured_services: frozenset[str] = frozenset()) -> None:
        self._counts, self._rare = metrics_of(registry, _server_counts_in)
        self._unmeasured_services = unmeasured_services

    def applies_to(self, method: Method) -> bool:
        return method.service not in self._unmeasured_services

    def start_of(self, method: Method) -> Start:
        counts = self._counts.of(method)

        def start(call: Call) -> Finish:  # noqa: ARG001 - every call counts
            counts.started += 1
            return finish

        def finish(call: Call, error: BaseException | None) -> None:
            code, reason = OK, ""
            if error is not None:
                rejection = caller_error(error, call)
                code, reason = rejection.code.name, rejection.reason_name()
            counts.end(call.began_s, (code, reason, call.context.caller), call.trace_id, call.span_id)
            if call.notes or PREVIOUS_ATTEMPTS in call.metadata:
                self._count_rare(call)

        return start

    def request_hook(self, method: Method) -> MessageHook | None:
        return self._counts.of(method).stream_request if method.request_streaming else None

    def response_hook(self, method: Method) -> MessageHook | None:
        return self._counts.of(method).stream_response if method.response_streaming else None

    def _count_rare(self, call: Call) -> None:
        if call.previous_attempts:
            self._rare.retried.labels(*labels_of(call.method)).inc()
        if call.context.caller and call.notes.get(SUPERSEDED_KEY):
            self._rare.superseded_key_calls.labels(call.context.caller).inc()


class ClientMetrics(ClientInterceptor):
    """Client interceptor that counts calls and messages, including calls rejected before they are sent.

    A call retried by gRPC's core is one call here and several at the server; so is its single message. Messages of a
    stream count as they are sent and as they arrive.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._counts = metrics_of(registry, _client_counts_in)

    def start_of(self, method: Method) -> ClientStart:
        counts = self._counts.of(method)

        def start(call: ClientCall) -> ClientFinish:  # noqa: ARG001 - every call counts
            counts.started += 1
            return finish

        def finish(call: ClientCall, error: BaseException | None) -> None:
            outcome = CLIENT_SUCCESS
            if error is not None:
                rejection = error_of_outcome(error)
                outcome = rejection.code.name, rejection.reason_name()
            counts.end(call.began_s, outcome, call.trace_id, call.span_id)

        return start

    def request_hook(self, method: Method) -> MessageListener | None:
        return self._counts.of(method).stream_request if method.request_streaming else None

    def response_hook(self, method: Method) -> MessageListener | None:
        return self._counts.of(method).stream_response if method.response_streaming else None


class _RareCounters(NamedTuple):
    """Counters that few calls change."""

    retried: Counter
    superseded_key_calls: Counter


def _rare_counters(registry: CollectorRegistry) -> _RareCounters:
    retried = "Calls that are retries by the caller's gRPC core."
    superseded = "Calls with a superseded API key."
    return _RareCounters(
        Counter("grpc_server_retried", retried, METHOD_LABELS, registry=registry),
        Counter("solo60_server_superseded_key_calls", superseded, ("caller",), registry=registry),
    )


def _server_counts_in(registry: CollectorRegistry) -> tuple[CallCounts, _RareCounters]:
    return _registered(CallCounts("server", SERVER_OUTCOME_LABELS), registry), _rare_counters(registry)


def _client_counts_in(registry: CollectorRegistry) -> CallCounts:
    return _registered(CallCounts("client", CLIENT_OUTCOME_LABELS), registry)


def _registered(counts: CallCounts, registry: CollectorRegistry) -> CallCounts:
    registry.register(counts)
    return counts
