"""Span exporters for measuring: one that only counts, so that a row shows what tracing costs without sending."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider


class CountingExporter(SpanExporter):
    """Counts spans and forgets them."""

    def __init__(self) -> None:
        self.count = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.count += len(spans)
        return SpanExportResult.SUCCESS


class EncodingExporter(CountingExporter):
    """Makes of each batch the bytes that OTLP sends, and forgets them."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        encode_spans(spans).SerializeToString()
        return super().export(spans)


def count_spans(tracers: TracerProvider, *, encode: bool = False) -> None:
    """Give the spans of `tracers` in batches to an exporter that counts them, and encodes them where asked to."""
    tracers.add_span_processor(BatchSpanProcessor(EncodingExporter() if encode else CountingExporter()))
