"""Span exporter that only counts, so that a row shows the cost of recording without sending."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from mesh.telemetry.setup import EXIT_TIMEOUT_S
from mesh.telemetry.span_exporting import BoundedShutdownProcessor

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


def count_spans(tracers: TracerProvider) -> None:
    """Export the spans of `tracers` to a counting exporter, in batches as in a service."""
    tracers.add_span_processor(BoundedShutdownProcessor(CountingExporter(), EXIT_TIMEOUT_S))
