"""OTLP/gRPC collector that stores what it receives, with the messages and servicers of opentelemetry-proto.

with collecting() as collector:
    ...                                   # run a process with OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint
    await eventually(lambda: bool(collector.logs))
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from tests.support.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from google.protobuf.message import Message
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
    from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

Item = TypeVar("Item")

HOST = "127.0.0.1"
# The largest request of a collector by default.
MAX_REQUEST_BYTES = 4 * 1024 * 1024
# Time after which a sender should repeat a request that was rejected for the moment.
RETRY_AFTER_MS = 10
RETRY_INFO = "google.rpc.retryinfo-bin"


@dataclass(frozen=True, slots=True)
class Received(Generic[Item]):
    """Span, metric or log record with its resource and the name of its scope."""

    resource: dict[str, Any]
    scope: str
    item: Item


@dataclass(frozen=True, slots=True)
class Kind:
    """Kind of telemetry: its messages, and the names of the fields with its groups, scopes and items."""

    name: str
    request: type[Message]
    answer: Message
    groups: str
    scopes: str
    items: str


TRACES = Kind(
    "traces",
    trace_service_pb2.ExportTraceServiceRequest,
    trace_service_pb2.ExportTraceServiceResponse(),
    "resource_spans",
    "scope_spans",
    "spans",
)
METRICS = Kind(
    "metrics",
    metrics_service_pb2.ExportMetricsServiceRequest,
    metrics_service_pb2.ExportMetricsServiceResponse(),
    "resource_metrics",
    "scope_metrics",
    "metrics",
)
LOGS = Kind(
    "logs",
    logs_service_pb2.ExportLogsServiceRequest,
    logs_service_pb2.ExportLogsServiceResponse(),
    "resource_logs",
    "scope_logs",
    "log_records",
)


@dataclass
class Collector:
    """Collector on `port`. While `is_open` is not set, requests wait. `rejects` is the status of all answers.

    The next `busy` requests are rejected, and the sender is asked to repeat them soon. `metadata` are the headers of
    each request.
    """

    port: int
    spans: list[Received[Span]] = field(default_factory=list)
    metrics: list[Received[Metric]] = field(default_factory=list)
    logs: list[Received[LogRecord]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    metadata: list[dict[str, str | bytes]] = field(default_factory=list)
    is_open: threading.Event = field(default_factory=threading.Event)
    rejects: grpc.StatusCode | None = None
    busy: int = 0
    server: grpc.Server | None = None

    @property
    def endpoint(self) -> str:
        """Value of OTEL_EXPORTER_OTLP_ENDPOINT for this collector."""
        return f"http://{HOST}:{self.port}"

    def stop(self) -> None:
        """Close the port and end all requests, as if the process of the collector had ended."""
        self.is_open.set()
        if self.server is not None:
            self.server.stop(0).wait()

    def admit(self, kind: Kind, metadata: Mapping[str, str | bytes]) -> grpc.StatusCode | None:
        """Count a request, and wait while the collector is closed; return the status if the request is rejected."""
        self.requests.append(kind.name)
        self.metadata.append(dict(metadata))
        self.is_open.wait()
        if self.busy:
            self.busy -= 1
            return grpc.StatusCode.UNAVAILABLE
        return self.rejects

    def store(self, kind: Kind, request: Message) -> None:
        """Store the items of a request."""
        stored: dict[str, list[Any]] = {"traces": self.spans, "metrics": self.metrics, "logs": self.logs}
        for group in getattr(request, kind.groups):
            resource = values_of(group.resource.attributes)
            for scoped in getattr(group, kind.scopes):
                items = getattr(scoped, kind.items)
                stored[kind.name].extend(Received(resource, scoped.scope.name, each) for each in items)


@dataclass(frozen=True, slots=True)
class _Servicer:
    """Servicer of one kind of telemetry."""

    collector: Collector
    kind: Kind

    def Export(self, request: Message, context: grpc.ServicerContext) -> Message:
        status = self.collector.admit(self.kind, dict(context.invocation_metadata()))
        if status is grpc.StatusCode.UNAVAILABLE:
            retry = RetryInfo(retry_delay=Duration(nanos=RETRY_AFTER_MS * 1_000_000))
            context.set_trailing_metadata(((RETRY_INFO, retry.SerializeToString()),))
        if status is not None:
            context.abort(status, "rejected by the test")
        self.collector.store(self.kind, request)
        return self.kind.answer


@contextmanager
def collecting(port: int = 0, *, is_open: bool = True) -> Iterator[Collector]:
    """Run a collector, by default on a free port, while the context is open."""
    collector = Collector(port or free_ports(1)[0])
    if is_open:
        collector.is_open.set()
    options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", MAX_REQUEST_BYTES)]
    threads = ThreadPoolExecutor(8)
    collector.server = server = grpc.server(threads, options=options)
    _add_servicers(collector, server)
    server.add_insecure_port(f"{HOST}:{collector.port}")
    server.start()
    try:
        yield collector
    finally:
        collector.stop()
        threads.shutdown()


def _add_servicers(collector: Collector, server: grpc.Server) -> None:
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(_Servicer(collector, TRACES), server)
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(_Servicer(collector, METRICS), server)
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server(_Servicer(collector, LOGS), server)


def values_of(attributes: Iterable[KeyValue]) -> dict[str, Any]:
    """Return attributes as a dictionary."""
    return {each.key: _plain(each.value) for each in attributes}


def _plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "kvlist_value":
        return values_of(value.kvlist_value.values)
    if kind == "array_value":
        return [_plain(each) for each in value.array_value.values]
    return getattr(value, kind) if kind else None
