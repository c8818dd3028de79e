"""Export of the metrics of a Prometheus registry at an interval."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psutil
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData, ResourceMetrics, ScopeMetrics
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from mesh.telemetry.export_thread import ExportThread
from mesh.telemetry.otlp.metric_data import NANOSECONDS, metrics_in

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricExporter
    from opentelemetry.sdk.resources import Resource
    from prometheus_client import CollectorRegistry

    from mesh.telemetry.export_state import ExportState

SCOPE = InstrumentationScope("solo60.mesh")


class MetricExport:
    """Export of the metrics of `registry` to a collector, every `interval_s` and at the end, on a thread of its own."""

    def __init__(
        self,
        exporter: MetricExporter,
        registry: CollectorRegistry,
        resource: Resource,
        state: ExportState,
        interval_s: float,
    ) -> None:
        self._exporter = exporter
        self._registry = registry
        self._resource = resource
        self._state = state
        self._process_start_ns = int(psutil.Process().create_time() * NANOSECONDS)
        self._thread = ExportThread("metric export", self._export, interval_s)

    def request_stop(self) -> None:
        """Export the metrics now, and then no more; do not wait for it."""
        self._thread.request_stop()

    def stop(self, timeout_s: float) -> None:
        """Export the metrics a last time, within `timeout_s`."""
        self._thread.stop(timeout_s, self._exporter.shutdown)

    def _export(self) -> None:
        metrics = list(metrics_in(self._registry, time.time_ns(), self._process_start_ns))
        data = MetricsData([ResourceMetrics(self._resource, [ScopeMetrics(SCOPE, metrics, "")], "")])
        self._state.attempt(lambda: self._exporter.export(data) is MetricExportResult.SUCCESS, 0)
