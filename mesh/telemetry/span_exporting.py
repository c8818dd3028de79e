"""Exporters that send spans in batches and never block the process when the destination fails."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import structlog
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

MILLISECONDS = 1_000
# The SDK logs every attempt for every batch, but one message of ReportingExporter is enough.
SDK_LOGGER = "opentelemetry.exporter.otlp.proto.grpc.exporter"

_log = structlog.stdlib.get_logger("solo60.spans")


class BoundedShutdownProcessor(BatchSpanProcessor):
    """Batch span processor that waits at most `exit_timeout_s` at shutdown, and drops the rest."""

    def __init__(
        self, exporter: SpanExporter, exit_timeout_s: float, schedule_delay_millis: float | None = None
    ) -> None:
        super().__init__(exporter, schedule_delay_millis=schedule_delay_millis)
        self._exit_timeout_s = exit_timeout_s

    def shutdown(self) -> None:
        self._batch_processor.shutdown(timeout_millis=int(self._exit_timeout_s * MILLISECONDS))


class ReportingExporter(SpanExporter):
    """Exporter that wraps another one and logs its first failure and its recovery.

    `failure` is the message without the reason: "traces do not reach the collector".
    """

    def __init__(self, exporter: SpanExporter, failure: str) -> None:
        logging.getLogger(SDK_LOGGER).setLevel(logging.CRITICAL)
        self._exporter = exporter
        self._failure = failure
        self._trouble = ""
        self._is_exporting = False

    @property
    def trouble(self) -> str:
        """The message of the last failure, or "" if the last export succeeded."""
        return self._trouble

    @property
    def trouble_at_exit(self) -> str:
        """Value of `trouble` at the end of the process. An unfinished export counts as a failure."""
        return self._trouble or (f"{self._failure}." if self._is_exporting else "")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._is_exporting = True
        reason = ""
        try:
            result = self._exporter.export(spans)
        except OSError as error:
            result, reason = SpanExportResult.FAILURE, f": {error.strerror}"
        self._is_exporting = False
        self._set_trouble("" if result is SpanExportResult.SUCCESS else f"{self._failure}{reason}.")
        return result

    def _set_trouble(self, trouble: str) -> None:
        before, self._trouble = self._trouble, trouble
        if not structlog.is_configured():  # a command: its output is for the user
            return
        if trouble and not before:
            _log.warning("spans are lost", reason=trouble)
        elif before and not trouble:
            _log.info("spans are exported again")

    def shutdown(self) -> None:
        self._exporter.shutdown()
