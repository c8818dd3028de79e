"""Exporter of spans by OTLP over gRPC: OpenTelemetry's own, with this package's encoding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from mesh.telemetry.otlp.span_encoding import encode_spans

if TYPE_CHECKING:
    from collections.abc import Sequence

    import grpc
    from opentelemetry.sdk.trace import ReadableSpan

_SERVICE = trace_service_pb2.DESCRIPTOR.services_by_name["TraceService"].full_name


class SpanExporter(OTLPSpanExporter):
    """OTLPSpanExporter with the same settings, retries and compression, which sends encoded requests."""

    def _initialize_channel_and_stub(self) -> None:
        super()._initialize_channel_and_stub()
        self._client: Any = _EncodedStub(self._channel)

    def _translate_data(self, data: Sequence[ReadableSpan]) -> Any:
        return encode_spans(data)


class _EncodedStub:
    """Stub of the collector's service for requests that are bytes already."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.Export = channel.unary_unary(
            f"/{_SERVICE}/Export", response_deserializer=trace_service_pb2.ExportTraceServiceResponse.FromString
        )
