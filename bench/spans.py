"""Span exporters that only count, so that a row shows the cost of tracing without sending."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider


class CountingExporter(SpanExporter):
    """Exporter that counts spans and discards them."""

    def __init__(self) -> None:
        self.count = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.count += len(spans)
        return SpanExportResult.SUCCESS


class EncodingExporter(CountingExporter):
    """Exporter that encodes each batch as OTLP and discards the result."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        encode_spans(spans).SerializeToString()
        return super().export(spans)


def count_spans(tracers: TracerProvider, *, encode: bool = False) -> None:
    """Export the spans of `tracers` in batches to a counting exporter; with `encode`, also encode them."""
    tracers.add_span_processor(BatchSpanProcessor(EncodingExporter() if encode else CountingExporter()))
