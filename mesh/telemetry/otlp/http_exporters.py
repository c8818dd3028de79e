"""Exporters by OTLP over HTTP: those of OpenTelemetry, with this package's encoding of spans."""

from __future__ import annotations

from typing import TYPE_CHECKING

import requests
from opentelemetry.exporter.otlp.proto.http._log_exporter import DEFAULT_LOGS_EXPORT_PATH, OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import DEFAULT_METRICS_EXPORT_PATH, OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import DEFAULT_TRACES_EXPORT_PATH, OTLPSpanExporter
from opentelemetry.sdk.trace.export import SpanExportResult

from mesh.telemetry.otlp.span_encoding import encode_spans

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from mesh.config import Settings


class HttpSpanExporter(OTLPSpanExporter):
    """OTLPSpanExporter with the same settings, retries and compression, which encodes spans in less time."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self._shutdown:
            return SpanExportResult.FAILURE
        with self._metrics.export_operation(len(spans)) as result:
            sent = self._client.export(encode_spans(spans))
            result.error = sent.error
        return SpanExportResult.SUCCESS if sent.success else SpanExportResult.FAILURE


class HttpExporters:
    """Exporters to `collector`, the base URL of the addresses for the three kinds of telemetry."""

    def __init__(self, settings: Settings, collector: str) -> None:
        self._collector = collector.rstrip("/")
        self._reads_environment = settings.calls_through_proxy

    def of_spans(self) -> OTLPSpanExporter:
        """Return a new exporter of spans."""
        return HttpSpanExporter(f"{self._collector}/{DEFAULT_TRACES_EXPORT_PATH}", session=self._session())

    def of_logs(self) -> OTLPLogExporter:
        """Return a new exporter of log records."""
        return OTLPLogExporter(f"{self._collector}/{DEFAULT_LOGS_EXPORT_PATH}", session=self._session())

    def of_metrics(self, max_points_per_request: int) -> OTLPMetricExporter:
        """Return a new exporter of metrics, in requests with at most this number of data points."""
        return OTLPMetricExporter(
            f"{self._collector}/{DEFAULT_METRICS_EXPORT_PATH}",
            session=self._session(),
            max_export_batch_size=max_points_per_request,
        )

    def _session(self) -> requests.Session:
        session = requests.Session()
        # By default `requests` uses `http_proxy`, even for loopback, and the passwords in ~/.netrc.
        session.trust_env = self._reads_environment
        return session
