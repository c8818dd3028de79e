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
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from tests.support.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from google.protobuf.message import Message
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
    from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

Item = TypeVar("Item")

HOST = "127.0.0.1"
# The largest request of a collector by default.
MAX_REQUEST_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Received(Generic[Item]):
    """Span, metric or log record with its resource and the name of its scope."""

    resource: dict[str, Any]
    scope: str
    item: Item


@dataclass
class Collector:
    """Collector on `port`. While `is_open` is not set, requests wait. `rejects` is the status of all answers."""

    port: int
    spans: list[Received[Span]] = field(default_factory=list)
    metrics: list[Received[Metric]] = field(default_factory=list)
    logs: list[Received[LogRecord]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    is_open: threading.Event = field(default_factory=threading.Event)
    rejects: grpc.StatusCode | None = None
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

    def admit(self, kind: str, context: grpc.ServicerContext) -> None:
        """Count a request; wait while the collector is closed, and abort the call if requests are rejected."""
        self.requests.append(kind)
        self.is_open.wait()
        if self.rejects is not None:
            context.abort(self.rejects, "rejected by the test")


@dataclass(frozen=True, slots=True)
class _Servicer:
    """Servicer of one kind of telemetry, which stores the messages of the field `items` of each scope."""

    collector: Collector
    kind: str
    groups: str
    scopes: str
    items: str
    received: list[Any]
    answer: Message

    def Export(self, request: Message, context: grpc.ServicerContext) -> Message:
        self.collector.admit(self.kind, context)
        for group in getattr(request, self.groups):
            resource = values_of(group.resource.attributes)
            for scoped in getattr(group, self.scopes):
                items = getattr(scoped, self.items)
                self.received.extend(Received(resource, scoped.scope.name, each) for each in items)
        return self.answer


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
    traces = _Servicer(
        collector,
        "traces",
        "resource_spans",
        "scope_spans",
        "spans",
        collector.spans,
        trace_service_pb2.ExportTraceServiceResponse(),
    )
    metrics = _Servicer(
        collector,
        "metrics",
        "resource_metrics",
        "scope_metrics",
        "metrics",
        collector.metrics,
        metrics_service_pb2.ExportMetricsServiceResponse(),
    )
    logs = _Servicer(
        collector,
        "logs",
        "resource_logs",
        "scope_logs",
        "log_records",
        collector.logs,
        logs_service_pb2.ExportLogsServiceResponse(),
    )
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(traces, server)
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(metrics, server)
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server(logs, server)


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
