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


class _Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def Export(
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        self._collector.admit("traces", context)
        for group in request.resource_spans:
            for scoped in group.scope_spans:
                resource, scope = values_of(group.resource.attributes), scoped.scope.name
                self._collector.spans += [Received(resource, scope, span) for span in scoped.spans]
        return trace_service_pb2.ExportTraceServiceResponse()


class _Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def Export(
        self, request: metrics_service_pb2.ExportMetricsServiceRequest, context: grpc.ServicerContext
    ) -> metrics_service_pb2.ExportMetricsServiceResponse:
        self._collector.admit("metrics", context)
        for group in request.resource_metrics:
            for scoped in group.scope_metrics:
                resource, scope = values_of(group.resource.attributes), scoped.scope.name
                self._collector.metrics += [Received(resource, scope, metric) for metric in scoped.metrics]
        return metrics_service_pb2.ExportMetricsServiceResponse()


class _Logs(logs_service_pb2_grpc.LogsServiceServicer):
    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def Export(
        self, request: logs_service_pb2.ExportLogsServiceRequest, context: grpc.ServicerContext
    ) -> logs_service_pb2.ExportLogsServiceResponse:
        self._collector.admit("logs", context)
        for group in request.resource_logs:
            for scoped in group.scope_logs:
                resource, scope = values_of(group.resource.attributes), scoped.scope.name
                self._collector.logs += [Received(resource, scope, record) for record in scoped.log_records]
        return logs_service_pb2.ExportLogsServiceResponse()


@contextmanager
def collecting(port: int = 0, *, is_open: bool = True) -> Iterator[Collector]:
    """Run a collector, by default on a free port, while the context is open."""
    collector = Collector(port or free_ports(1)[0])
    if is_open:
        collector.is_open.set()
    options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", MAX_REQUEST_BYTES)]
    threads = ThreadPoolExecutor(8)
    collector.server = server = grpc.server(threads, options=options)
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(_Traces(collector), server)
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(_Metrics(collector), server)
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server(_Logs(collector), server)
    server.add_insecure_port(f"{HOST}:{collector.port}")
    server.start()
    try:
        yield collector
    finally:
        collector.stop()
        threads.shutdown()


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
