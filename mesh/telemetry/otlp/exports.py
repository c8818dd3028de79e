"""Exports of this process's spans, log lines and metrics to its collector, by the protocol of its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.config import GRPC
from mesh.telemetry.export_state import ExportState
from mesh.telemetry.otlp.exporter_variables import check_timeout, compression_of
from mesh.telemetry.otlp.log_export import LogExport
from mesh.telemetry.otlp.metric_export import MetricExport
from mesh.telemetry.span_exporting import silence_sdk

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace.export import SpanExporter
    from prometheus_client import CollectorRegistry

    from mesh.config import Settings, Signal
    from mesh.telemetry.otlp.grpc_exporters import GrpcExporters
    from mesh.telemetry.otlp.http_exporters import HttpExporters

# A collector rejects requests above 4 MiB. A data point takes about 500 bytes.
MAX_POINTS_PER_REQUEST = 2_000
MILLISECONDS = 1_000


def span_exporter(settings: Settings, collector: str) -> SpanExporter:
    """Return a new exporter of spans to `collector`."""
    return _exporters(settings, "traces", collector).of_spans()


def start_log_export(settings: Settings, collector: str, resource: Resource) -> tuple[LogExport, ExportState]:
    """Start to export log lines to `collector`; they are those passed to `LogExport.add`."""
    silence_sdk()
    state = ExportState("log lines", _failure("logs", collector))
    return LogExport(_exporters(settings, "logs", collector).of_logs(), resource, state), state


def start_metric_export(
    settings: Settings, collector: str, resource: Resource, registry: CollectorRegistry
) -> tuple[MetricExport, ExportState]:
    """Start to export the metrics of `registry` to `collector`."""
    silence_sdk()
    exporter = _exporters(settings, "metrics", collector).of_metrics(MAX_POINTS_PER_REQUEST)
    state = ExportState("metrics", _failure("metrics", collector))
    interval_s = settings.otel_metric_export_interval / MILLISECONDS
    return MetricExport(exporter, registry, resource, state, interval_s), state


def _exporters(settings: Settings, signal: Signal, collector: str) -> GrpcExporters | HttpExporters:
    protocol = settings.otlp_protocol_of(signal)
    compression = compression_of(signal, protocol)
    check_timeout(signal)
    # A process needs the packages of one protocol only.
    if protocol == GRPC:
        from mesh.telemetry.otlp.grpc_exporters import GrpcExporters  # noqa: PLC0415

        return GrpcExporters(settings, collector, compression)
    from mesh.telemetry.otlp.http_exporters import HttpExporters  # noqa: PLC0415

    return HttpExporters(settings, collector)


def _failure(signal: str, collector: str) -> str:
    # Jaeger, for example, accepts traces only.
    hint = f"if it does not accept {signal}, set OTEL_{signal.upper()}_EXPORTER=none"
    return f"OTEL_EXPORTER_OTLP_ENDPOINT: {signal} do not reach {collector}; {hint}"
