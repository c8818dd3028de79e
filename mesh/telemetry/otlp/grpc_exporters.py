"""Exporters by OTLP over gRPC: those of OpenTelemetry, with this package's encoding of spans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import grpc
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from mesh.connection import connection_options
from mesh.telemetry.otlp.span_encoding import encode_spans

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.sdk.trace import ReadableSpan

    from mesh.config import Settings

_SERVICE = trace_service_pb2.DESCRIPTOR.services_by_name["TraceService"].full_name


class GrpcSpanExporter(OTLPSpanExporter):
    """OTLPSpanExporter with the same settings, retries and compression, which sends encoded requests."""

    def _initialize_channel_and_stub(self) -> None:
        super()._initialize_channel_and_stub()  # type: ignore[no-untyped-call]  # the package has no types here
        self._client: Any = _EncodedStub(cast("grpc.Channel", self._channel))

    def _translate_data(self, data: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
        # The request goes to _EncodedStub, which sends bytes.
        return cast("ExportTraceServiceRequest", encode_spans(data))


class _EncodedStub:
    """Stub of the collector's service for encoded requests."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.Export: Any = channel.unary_unary(
            f"/{_SERVICE}/Export", response_deserializer=trace_service_pb2.ExportTraceServiceResponse.FromString
        )


class GrpcExporters:
    """Exporters to `collector`, an address without a path, with the compression "none" or "gzip"."""

    def __init__(self, settings: Settings, collector: str, compression: str) -> None:
        self._collector = collector
        # The exporters themselves reject "none".
        self._compression = grpc.Compression.Gzip if compression == "gzip" else grpc.Compression.NoCompression
        # OpenTelemetry types them as options with string values only.
        self._options: Any = tuple(connection_options(through_proxy=settings.calls_through_proxy))

    def of_spans(self) -> OTLPSpanExporter:
        """Return a new exporter of spans."""
        return GrpcSpanExporter(self._collector, compression=self._compression, channel_options=self._options)

    def of_logs(self) -> OTLPLogExporter:
        """Return a new exporter of log records."""
        return OTLPLogExporter(self._collector, compression=self._compression, channel_options=self._options)

    def of_metrics(self, max_points_per_request: int) -> OTLPMetricExporter:
        """Return a new exporter of metrics, in requests with at most this number of data points."""
        return OTLPMetricExporter(
            self._collector,
            compression=self._compression,
            channel_options=self._options,
            max_export_batch_size=max_points_per_request,
        )
