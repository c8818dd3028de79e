"""Exporters that send spans in batches and never block the process when the destination fails."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import TraceFlags

from mesh.telemetry.export_state import ExportState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

MILLISECONDS = 1_000
# Index of the flags in a SpanContext.
_FLAGS = 3
# The SDK logs every attempt for every batch, but one message of ExportState is enough.
SDK_LOGGERS = ("opentelemetry.exporter.otlp.proto.grpc.exporter", "opentelemetry.exporter.otlp.proto.http")
# At the level "debug", this library logs each request, so each export of log lines would cause another one.
HTTP_LOGGER = "urllib3"


def silence_sdk() -> None:
    """Keep the SDK from logging failed exports, and its HTTP library from logging requests."""
    for each in SDK_LOGGERS:
        logging.getLogger(each).setLevel(logging.CRITICAL)
    logging.getLogger(HTTP_LOGGER).setLevel(logging.WARNING)


class BoundedShutdownProcessor(BatchSpanProcessor):
    """Batch span processor that waits at most `exit_timeout_s` at shutdown, and drops the rest."""

    def __init__(
        self, exporter: SpanExporter, exit_timeout_s: float, schedule_delay_millis: float | None = None
    ) -> None:
        super().__init__(exporter, schedule_delay_millis=schedule_delay_millis)
        self._exit_timeout_s = exit_timeout_s

    def on_end(self, span: ReadableSpan) -> None:
        # A SpanContext is a tuple. The method of the SDK reads four properties, which takes longer than the rest.
        context = span.get_span_context()
        if context is None or not cast("int", context[_FLAGS]) & TraceFlags.SAMPLED:
            return
        batch = self._batch_processor
        waiting = batch._queue
        # Unless this span fills a batch, `emit` would only add it too, but takes three times as long.
        if len(waiting) + 1 < batch._max_export_batch_size and not batch._shutdown:
            waiting.appendleft(span)
        else:
            batch.emit(span)

    def shutdown(self) -> None:
        self._batch_processor.shutdown(timeout_millis=int(self._exit_timeout_s * MILLISECONDS))


class ReportingExporter(SpanExporter):
    """Exporter that wraps another one and logs its first failure and its recovery.

    `failure` is the message without the reason: "traces do not reach the collector".
    """

    def __init__(self, exporter: SpanExporter, failure: str) -> None:
        silence_sdk()
        self._exporter = exporter
        self._state = ExportState("spans", failure)

    @property
    def trouble(self) -> str:
        """The message of the last failure, or "" if the last export succeeded."""
        return self._state.trouble

    @property
    def trouble_at_exit(self) -> str:
        """Value of `trouble` at the end of the process. An unfinished export counts as a failure."""
        return self._state.trouble_at_exit

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        succeeded = self._state.attempt(lambda: self._exporter.export(spans) is SpanExportResult.SUCCESS, len(spans))
        return SpanExportResult.SUCCESS if succeeded else SpanExportResult.FAILURE

    def shutdown(self) -> None:
        self._exporter.shutdown()
