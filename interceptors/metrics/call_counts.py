"""Call counters: plain numbers, converted to Prometheus metrics at each scrape.

Each call changes seven numbers, and a counter of prometheus-client takes a lock for each. All calls of a server start
and end on the event loop's thread, so plain numbers are safe here and take a fifth of the time.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, Exemplar, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

    from contracts.method import Method

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
METHOD_LABELS = ("grpc_type", "grpc_service", "grpc_method")
_BOUNDS = (*map(floatToGoString, BUCKETS_S), "+Inf")
# Status names as in Go, also "Canceled". go-grpc-prometheus uses them as labels, and existing alerts match "NotFound".
CODE_LABELS = {
    "OK": "OK",
    "CANCELLED": "Canceled",
    "UNKNOWN": "Unknown",
    "INVALID_ARGUMENT": "InvalidArgument",
    "DEADLINE_EXCEEDED": "DeadlineExceeded",
    "NOT_FOUND": "NotFound",
    "ALREADY_EXISTS": "AlreadyExists",
    "PERMISSION_DENIED": "PermissionDenied",
    "RESOURCE_EXHAUSTED": "ResourceExhausted",
    "FAILED_PRECONDITION": "FailedPrecondition",
    "ABORTED": "Aborted",
    "OUT_OF_RANGE": "OutOfRange",
    "UNIMPLEMENTED": "Unimplemented",
    "INTERNAL": "Internal",
    "UNAVAILABLE": "Unavailable",
    "DATA_LOSS": "DataLoss",
    "UNAUTHENTICATED": "Unauthenticated",
}
# Keyed by (request streaming, response streaming).
_TYPES = {
    (False, False): "unary",
    (False, True): "server_stream",
    (True, False): "client_stream",
    (True, True): "bidi_stream",
}


def labels_of(method: Method) -> tuple[str, str, str]:
    """Return the values of METHOD_LABELS for a method."""
    return _TYPES[method.request_streaming, method.response_streaming], method.service, method.name


class MethodCounts:
    """Counters of one method, which must be changed on a single thread."""

    __slots__ = ("by_bucket", "by_outcome", "ended", "exemplars", "labels", "received", "seconds", "sent", "started")

    def __init__(self, method: Method) -> None:
        self.labels = labels_of(method)
        self.started = 0
        self.ended = 0
        self.received = 0
        self.sent = 0
        self.seconds = 0.0
        self.by_bucket = [0] * len(_BOUNDS)
        # Per bucket: trace id, span id, duration in seconds and end time of the last recorded call.
        self.exemplars: list[tuple[str, str, float, float] | None] = [None] * len(_BOUNDS)
        self.by_outcome: Counter[tuple[str, ...]] = Counter()

    def begin(self) -> float:
        """Count a started call; return its start time, which `end` takes."""
        self.started += 1
        return time.perf_counter()

    def receive(self, *_message: object) -> None:
        """Count a received message."""
        self.received += 1

    def send(self, *_message: object) -> None:
        """Count a sent message."""
        self.sent += 1

    def end(self, began: float, outcome: tuple[str, ...], trace_id: str, span_id: str) -> None:
        """Count a finished call.

        `began` is the result of `begin`. The first item of `outcome` is the name of the gRPC status, such as
        "NOT_FOUND". `trace_id` and `span_id` are empty if the call's trace is not recorded.
        """
        seconds = time.perf_counter() - began
        self.ended += 1
        self.seconds += seconds
        self.by_outcome[outcome] += 1
        bucket = bisect_left(BUCKETS_S, seconds)
        self.by_bucket[bucket] += 1
        if trace_id:
            self.exemplars[bucket] = trace_id, span_id, seconds, time.time()


class CallCounts(Collector):
    """Collector of the call metrics of one side, "server" or "client", named as in go-grpc-prometheus.

    `outcome_labels` name the items of each outcome given to `MethodCounts.end`. The first label is `grpc_code`.
    """

    def __init__(self, side: str, outcome_labels: tuple[str, ...]) -> None:
        self._prefix = f"grpc_{side}"
        self._outcome_labels = outcome_labels
        self._by_path: dict[str, MethodCounts] = {}

    def of(self, method: Method) -> MethodCounts:
        """Return the counters of a method, created on first use."""
        found = self._by_path.get(method.path)
        if found is None:
            found = self._by_path[method.path] = MethodCounts(method)
        return found

    def collect(self) -> Iterator[Metric]:
        started = CounterMetricFamily(f"{self._prefix}_started", "Calls started.", labels=METHOD_LABELS)
        in_flight = GaugeMetricFamily(f"{self._prefix}_in_flight", "Calls in flight.", labels=METHOD_LABELS)
        received = CounterMetricFamily(f"{self._prefix}_msg_received", "Messages received.", labels=METHOD_LABELS)
        sent = CounterMetricFamily(f"{self._prefix}_msg_sent", "Messages sent.", labels=METHOD_LABELS)
        labels = (*METHOD_LABELS, *self._outcome_labels)
        handled = CounterMetricFamily(f"{self._prefix}_handled", "Calls finished, by outcome.", labels=labels)
        seconds = HistogramMetricFamily(
            f"{self._prefix}_handling_seconds", "Duration of calls in seconds.", labels=METHOD_LABELS
        )
        # A copy, because the thread of the server may add a method meanwhile.
        for counts in [each for each in list(self._by_path.values()) if each.started]:
            started.add_metric(counts.labels, counts.started)
            in_flight.add_metric(counts.labels, counts.started - counts.ended)
            received.add_metric(counts.labels, counts.received)
            sent.add_metric(counts.labels, counts.sent)
            for (code, *others), number in list(counts.by_outcome.items()):
                handled.add_metric((*counts.labels, CODE_LABELS[code], *others), number)
            seconds.add_metric(counts.labels, _cumulative(counts), counts.seconds)
        yield from (started, in_flight, received, sent, handled, seconds)


def _cumulative(counts: MethodCounts) -> list[tuple[str, float] | tuple[str, float, Exemplar]]:
    totals = map(float, accumulate(counts.by_bucket))
    return [
        (bound, total, _exemplar(*last)) if last else (bound, total)
        for bound, total, last in zip(_BOUNDS, totals, counts.exemplars, strict=True)
    ]


def _exemplar(trace_id: str, span_id: str, seconds: float, ended: float) -> Exemplar:
    return Exemplar({"trace_id": trace_id, "span_id": span_id}, seconds, ended)
