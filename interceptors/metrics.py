"""Metrics: how many calls, how long they took, how they ended and for whom, for Prometheus, on both sides (S5).

Names and labels are those of go-grpc-prometheus, and three labels say more: `grpc_code` is written as gRPC writes it
("NOT_FOUND"), `reason` is the contract's ("SLOT_TAKEN", "OVERLOADED", "CIRCUIT_OPEN"), `caller` is whose key the call
carried. Every label has few values: methods and reasons are those of contracts, callers those of the keyring.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from prometheus_client import Counter, Gauge, Histogram

from interceptors.client import ClientCall, ClientInterceptor
from interceptors.errors import answer_to, error_of_outcome
from interceptors.server import Call, ServerInterceptor

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from contracts.method import Method
    from interceptors.client import Finish
    from interceptors.server import Proceed

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
METHOD_LABELS = ("grpc_type", "grpc_service", "grpc_method")
CLIENT_OUTCOME_LABELS = ("grpc_code", "reason")
SERVER_OUTCOME_LABELS = (*CLIENT_OUTCOME_LABELS, "caller")
OK = "OK"
# What the API key's interceptor notes of a call whose key has a successor.
SUPERSEDED_KEY = "superseded_key"
# By (requests are streamed, answers are streamed).
_TYPES = {
    (False, False): "unary",
    (False, True): "server_stream",
    (True, False): "client_stream",
    (True, True): "bidi_stream",
}


class ServerMetrics(ServerInterceptor):
    """Counts each call that the server takes, also one that is refused further in.

    The trace of a call, where it is recorded, becomes the exemplar of its duration. Any number of these may share a
    registry. Calls of `unmeasured_services` are not counted.

    >>> from prometheus_client import CollectorRegistry
    >>> registry = CollectorRegistry()
    >>> ask(ServerMetrics(registry), text="hi")
    'hi'
    >>> echo = {"grpc_type": "unary", "grpc_service": "solo60.example.v1.EchoService", "grpc_method": "Echo"}
    >>> registry.get_sample_value("grpc_server_started_total", echo)
    1.0
    """

    def __init__(self, registry: CollectorRegistry, unmeasured_services: frozenset[str] = frozenset()) -> None:
        self._meters = _server_meters_of(registry)
        self._unmeasured_services = unmeasured_services

    def applies_to(self, method: Method) -> bool:
        return method.service not in self._unmeasured_services

    async def intercept(self, call: Call, proceed: Proceed) -> bytes | None:
        meters = self._meters.of(call.method)
        began = meters.begin()
        try:
            reply = await proceed(call)
        except BaseException as error:
            refusal = answer_to(error, call)
            self._end(call, meters, began, (refusal.code.name, refusal.reason_name(), call.caller))
            raise
        self._end(call, meters, began, (OK, "", call.caller))
        return reply

    def _end(self, call: Call, meters: _MethodMeters, began: float, outcome: tuple[str, ...]) -> None:
        meters.end(began, outcome, call.trace_id)
        if call.previous_attempts:
            self._meters.retried.labels(*_labels_of(call.method)).inc()
        if call.caller and call.notes.get(SUPERSEDED_KEY):
            self._meters.superseded_key_calls.labels(call.caller).inc()


class ClientMetrics(ClientInterceptor):
    """Counts each call that is made, also one that an interceptor further in refuses before it is sent.

    What gRPC's core sends again is one call here, and several at the server.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._meters = _client_meters_of(registry)

    def start(self, call: ClientCall) -> Finish:
        meters = self._meters.of(call.method)
        return partial(_finish, call, meters, meters.begin())


def _finish(call: ClientCall, meters: _MethodMeters, began: float, error: BaseException | None) -> None:
    if error is None:
        meters.end(began, (OK, ""), call.trace_id)
    else:
        refusal = error_of_outcome(error)
        meters.end(began, (refusal.code.name, refusal.reason_name()), call.trace_id)


def _labels_of(method: Method) -> tuple[str, str, str]:
    return _TYPES[method.request_streaming, method.response_streaming], method.service, method.name


class _MethodMeters:
    """The counters of one method: labels are resolved once, not on every call."""

    __slots__ = ("_handled", "_handled_by_outcome", "_in_flight", "_labels", "_seconds", "_started")

    def __init__(self, meters: _Meters, method: Method) -> None:
        self._labels = _labels_of(method)
        self._started = meters.started.labels(*self._labels)
        self._in_flight = meters.in_flight.labels(*self._labels)
        self._seconds = meters.seconds.labels(*self._labels)
        self._handled = meters.handled
        self._handled_by_outcome: dict[tuple[str, ...], Counter] = {}

    def begin(self) -> float:
        """Count a call that begins; return what `end` needs."""
        self._started.inc()
        self._in_flight.inc()
        return time.perf_counter()

    def end(self, began: float, outcome: tuple[str, ...], trace_id: str) -> None:
        """Count a call that has ended; `trace_id` is empty where its trace is not recorded."""
        self._in_flight.dec()
        self._seconds.observe(time.perf_counter() - began, {"trace_id": trace_id} if trace_id else None)
        handled = self._handled_by_outcome.get(outcome)
        if handled is None:
            handled = self._handled_by_outcome[outcome] = self._handled.labels(*self._labels, *outcome)
        handled.inc()


class _Meters:
    """The counters of one side in one registry."""

    def __init__(self, registry: CollectorRegistry, side: str, outcome_labels: tuple[str, ...]) -> None:
        labels = METHOD_LABELS
        self.started = Counter(f"grpc_{side}_started", "Calls begun.", labels, registry=registry)
        self.in_flight = Gauge(f"grpc_{side}_in_flight", "Calls under way.", labels, registry=registry)
        self.handled = Counter(
            f"grpc_{side}_handled", "Calls ended, by outcome.", (*labels, *outcome_labels), registry=registry
        )
        self.seconds = Histogram(
            f"grpc_{side}_handling_seconds", "How long calls took.", labels, registry=registry, buckets=BUCKETS_S
        )
        self._by_path: dict[str, _MethodMeters] = {}

    def of(self, method: Method) -> _MethodMeters:
        """Return the counters of a method."""
        found = self._by_path.get(method.path)
        if found is None:
            found = self._by_path[method.path] = _MethodMeters(self, method)
        return found


class _ServerMeters(_Meters):
    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry, "server", SERVER_OUTCOME_LABELS)
        self.retried = Counter(
            "grpc_server_retried",
            "Calls that their caller's gRPC core had sent before.",
            METHOD_LABELS,
            registry=registry,
        )
        self.superseded_key_calls = Counter(
            "solo60_server_superseded_key_calls",
            "Calls with a key that has a successor.",
            ("caller",),
            registry=registry,
        )


class _ClientMeters(_Meters):
    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry, "client", CLIENT_OUTCOME_LABELS)


# A registry takes each name once, and a process may have many chains.
_server_meters: WeakKeyDictionary[CollectorRegistry, _ServerMeters] = WeakKeyDictionary()
_client_meters: WeakKeyDictionary[CollectorRegistry, _ClientMeters] = WeakKeyDictionary()


def _server_meters_of(registry: CollectorRegistry) -> _ServerMeters:
    return _server_meters.get(registry) or _server_meters.setdefault(registry, _ServerMeters(registry))


def _client_meters_of(registry: CollectorRegistry) -> _ClientMeters:
    return _client_meters.get(registry) or _client_meters.setdefault(registry, _ClientMeters(registry))
