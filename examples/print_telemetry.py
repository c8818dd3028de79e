"""Collector for OTLP/gRPC that prints what it receives: python examples/print_telemetry.py 127.0.0.1:4317"""

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces
from opentelemetry.proto.resource.v1.resource_pb2 import Resource


def spans_in(request: traces.ExportTraceServiceRequest) -> Iterator[str]:
    for group in request.resource_spans:
        for span in [span for scoped in group.scope_spans for span in scoped.spans]:
            yield f"span {service_of(group.resource)} {span.name} {span.trace_id.hex()}"


def metrics_in(request: metrics.ExportMetricsServiceRequest) -> Iterator[str]:
    for group in request.resource_metrics:
        for metric in [metric for scoped in group.scope_metrics for metric in scoped.metrics]:
            yield f"metric {service_of(group.resource)} {metric.name} {metric.WhichOneof('data')}"


def logs_in(request: logs.ExportLogsServiceRequest) -> Iterator[str]:
    for group in request.resource_logs:
        for record in [record for scoped in group.scope_logs for record in scoped.log_records]:
            text = f"{record.severity_text} {record.body.string_value} {record.trace_id.hex()}"
            yield f"log {service_of(group.resource)} {text}"


def service_of(resource: Resource) -> str:
    return next(each.value.string_value for each in resource.attributes if each.key == "service.name")


def collects(request: type[Message], answer: Message, lines_in: Callable[[Any], Iterator[str]]) -> dict[str, Any]:
    def export(received: Message, _context: object) -> Message:
        print(*lines_in(received), sep="\n", flush=True)
        return answer

    return {"Export": grpc.unary_unary_rpc_method_handler(export, request.FromString, type(answer).SerializeToString)}


SERVICES = {
    "trace.v1.TraceService": collects(traces.ExportTraceServiceRequest, traces.ExportTraceServiceResponse(), spans_in),
    "metrics.v1.MetricsService": collects(
        metrics.ExportMetricsServiceRequest, metrics.ExportMetricsServiceResponse(), metrics_in
    ),
    "logs.v1.LogsService": collects(logs.ExportLogsServiceRequest, logs.ExportLogsServiceResponse(), logs_in),
}

server = grpc.server(ThreadPoolExecutor(4))
for name, handlers in SERVICES.items():
    handler = grpc.method_handlers_generic_handler(f"opentelemetry.proto.collector.{name}", handlers)
    server.add_generic_rpc_handlers((handler,))
server.add_insecure_port(sys.argv[1])
server.start()
server.wait_for_termination()
