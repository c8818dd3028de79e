"""Exports of this process's log lines and metrics to its collector."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter

from mesh.connection import connection_options
from mesh.telemetry.export_state import ExportState
from mesh.telemetry.otlp.log_export import LogExport
from mesh.telemetry.otlp.metric_export import MetricExport
from mesh.telemetry.span_exporting import silence_sdk

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from prometheus_client import CollectorRegistry

    from mesh.config import Settings

# A collector rejects requests above 4 MiB. A data point takes about 500 bytes.
MAX_POINTS_PER_REQUEST = 2_000
MILLISECONDS = 1_000


def start_log_export(settings: Settings, collector: str, resource: Resource) -> tuple[LogExport, ExportState]:
    """Start to export log lines to `collector`; they are those passed to `LogExport.add`."""
    silence_sdk()
    exporter = OTLPLogExporter(collector, channel_options=_channel_options(settings))
    state = ExportState("log lines", _failure("logs", collector))
    return LogExport(exporter, resource, state), state


def start_metric_export(
    settings: Settings, collector: str, resource: Resource, registry: CollectorRegistry
) -> tuple[MetricExport, ExportState]:
    """Start to export the metrics of `registry` to `collector`."""
    silence_sdk()
    exporter = OTLPMetricExporter(
        collector, channel_options=_channel_options(settings), max_export_batch_size=MAX_POINTS_PER_REQUEST
    )
    state = ExportState("metrics", _failure("metrics", collector))
    interval_s = settings.otel_metric_export_interval / MILLISECONDS
    return MetricExport(exporter, registry, resource, state, interval_s), state


def _failure(signal: str, collector: str) -> str:
    # Jaeger, for example, accepts traces only.
    hint = f"if it does not accept {signal}, set OTEL_{signal.upper()}_EXPORTER=none"
    return f"OTEL_EXPORTER_OTLP_ENDPOINT: {signal} do not reach {collector}; {hint}"


def _channel_options(settings: Settings) -> tuple[tuple[str, str]]:
    # OpenTelemetry types them as one option with a string value.
    return cast("tuple[tuple[str, str]]", tuple(connection_options(through_proxy=settings.calls_through_proxy)))
