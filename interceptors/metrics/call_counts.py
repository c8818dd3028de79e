"""Call counters: plain numbers, converted to Prometheus metrics at each scrape.

Each call changes seven numbers, and a counter of prometheus-client takes a lock for each. Here, an ended call only adds
its facts to a queue. A scrape counts all calls in the queue, and so does every hundredth call. That takes half as long
as counting at the end of each call, where this code is not in the processor's cache.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter, deque
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

from prometheus_client.core import CounterMetricFamily, Exemplar, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

    from contracts.method import Method

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
MAX_WAITING = 100
OK = "OK"
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
    """Counters of one method, changed on a single thread and read on any thread.

    The interceptors increase `started` for each call. The other counters include only calls that `count_ended` has
    counted.
    """

    def __init__(self, method: Method) -> None:
        self.labels = labels_of(method)
        self.started = 0
        self.ended = 0
        self.seconds = 0.0
        self.by_bucket = [0] * len(_BOUNDS)
        # Per bucket: trace id, span id, duration in seconds and end time of the last recorded call.
        self.exemplars: list[tuple[str, str, float, float] | None] = [None] * len(_BOUNDS)
        self.by_outcome: Counter[tuple[str, ...]] = Counter()
        self._request_streaming = method.request_streaming
        self._response_streaming = method.response_streaming
        self._streamed_requests = 0
        self._streamed_responses = 0
        self._waiting: deque[tuple[float, tuple[str, ...], str, str, float]] = deque()
        self._counting = threading.Lock()

    @property
    def requests(self) -> int:
        """Number of request messages: one for each call, unless they are streamed."""
        return self._streamed_requests if self._request_streaming else self.started

    @property
    def responses(self) -> int:
        """Number of response messages: one for each successful call, unless they are streamed."""
        if self._response_streaming:
            return self._streamed_responses
        return sum(number for outcome, number in self.by_outcome.items() if outcome[0] == OK)

    def stream_request(self, *_message: object) -> None:
        """Count a request of a stream."""
        self._streamed_requests += 1

    def stream_response(self, *_message: object) -> None:
        """Count a response of a stream."""
        self._streamed_responses += 1

    def end(self, began_s: float, outcome: tuple[str, ...], trace_id: str, span_id: str) -> None:
        """Queue an ended call for `count_ended`.

        `began_s` is on the clock of `time.monotonic`. The first item of `outcome` is the name of the gRPC status, such
        as "NOT_FOUND". `trace_id` and `span_id` are empty if the call's trace is not recorded.
        """
        ended_at = time.time() if trace_id else 0.0
        self._waiting.append((time.monotonic() - began_s, outcome, trace_id, span_id, ended_at))
        if len(self._waiting) >= MAX_WAITING:
            self.count_ended()

    def count_ended(self) -> None:
        """Count the calls that have ended so far."""
        with self._counting:
            for _ in range(len(self._waiting)):
                seconds, outcome, trace_id, span_id, ended_at = self._waiting.popleft()
                bucket = bisect_left(BUCKETS_S, seconds)
                self.ended += 1
                self.seconds += seconds
                self.by_outcome[outcome] += 1
                self.by_bucket[bucket] += 1
                if trace_id:
                    self.exemplars[bucket] = trace_id, span_id, seconds, ended_at


class CallCounts(Collector):
    """Collector of the call metrics of one side, "server" or "client", named as in go-grpc-prometheus.

    A server receives requests and sends responses; a client does the reverse.

    `outcome_labels` name the items of each outcome given to `MethodCounts.end`. The first label is `grpc_code`.
    """

    def __init__(self, side: Literal["server", "client"], outcome_labels: tuple[str, ...]) -> None:
        self._receives_requests = side == "server"
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
            counts.count_ended()
            messages = counts.requests, counts.responses
            inward, outward = messages if self._receives_requests else reversed(messages)
            started.add_metric(counts.labels, counts.started)
            in_flight.add_metric(counts.labels, counts.started - counts.ended)
            received.add_metric(counts.labels, inward)
            sent.add_metric(counts.labels, outward)
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
