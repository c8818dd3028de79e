"""Logs as JSON lines on standard output, and traces sent to a collector or the local span store."""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import TYPE_CHECKING

import structlog
from opentelemetry import trace
from opentelemetry.sdk.resources import SERVICE_NAME, Resource

from interceptors.access_log import LOGGER, log_call
from interceptors.context import current_context
from mesh.config import SettingsError
from mesh.telemetry.current import ProcessLog, current_lines, current_tracers
from mesh.telemetry.export_state import export_troubles
from mesh.telemetry.library_lines import LibraryLineFilter
from mesh.telemetry.log_lines import LogLineHandler, json_line
from mesh.telemetry.sampling import SamplingProvider
from mesh.telemetry.span_exporting import BoundedShutdownProcessor, ReportingExporter
from mesh.telemetry.spans import FolderSpanExporter
from mesh.telemetry.tracebacks import traceback_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import BinaryIO

    from opentelemetry.sdk.trace.export import SpanExporter
    from structlog.typing import EventDict, ExcInfo, Processor

    from interceptors.access_log import Write
    from mesh.config import Settings

# Short, so that a trace can be read soon after its call has ended.
EXPORT_INTERVAL_MS = 200
# A stopping service waits at most this long for its last spans, so that a missing collector cannot delay the stop.
EXIT_TIMEOUT_S = 5.0


def set_up_logging(settings: Settings, service: str, stream: BinaryIO | None = None) -> LogLineHandler:
    """Write every log line of this process as one JSON object to `stream`, or to standard output.

    Lines of libraries, Python warnings and uncaught exceptions are included. `mesh.telemetry.tracebacks` formats
    exceptions. Returns the handler of all loggers.
    """
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared_processors(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    # Unbuffered: if a full disk rejected a buffer at exit, the process would fail.
    unbuffered: BinaryIO = getattr(sys.stdout.buffer, "raw", sys.stdout.buffer)
    lines = _prepared(ProcessLog(stream or unbuffered, service), service)
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    logging.basicConfig(level=level, handlers=[lines], force=True)
    logging.captureWarnings(capture=True)
    _log_uncaught_exceptions()
    return lines


def log_of_service(stream: BinaryIO, service: str) -> LogLineHandler:
    """Return the log of one of several services in a process, for its `ServiceTelemetry`."""
    return _prepared(LogLineHandler(stream, service), service)


def _prepared(lines: LogLineHandler, service: str) -> LogLineHandler:
    lines.setFormatter(_json_of(service))
    lines.addFilter(LibraryLineFilter())
    return lines


def log_stream(settings: Settings) -> BinaryIO:
    """Open the log of a process: the file inherited from its parent as LOG_FD, or a copy of standard output.

    Raises SettingsError if LOG_FD is not an open file.
    """
    if settings.log_fd is None:
        return os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    try:
        os.set_inheritable(settings.log_fd, False)  # noqa: FBT003 - signature of the standard library
        return os.fdopen(settings.log_fd, "ab", buffering=0)
    except OSError:
        raise SettingsError("LOG_FD: this is not an open file.") from None


def _log_uncaught_exceptions() -> None:
    """Log exceptions that the interpreter would print, without the values that database errors quote."""
    log = logging.getLogger("solo60.uncaught")

    def of_main(_kind: type[BaseException], error: BaseException, _traceback: object) -> None:
        log.critical("the process ends because of an uncaught exception", exc_info=error)

    def of_thread(facts: threading.ExceptHookArgs) -> None:
        log.error("a thread ended because of an uncaught exception", exc_info=facts.exc_value)

    def of_finalizer(facts: sys.UnraisableHookArgs) -> None:
        log.error("%s: %r", facts.err_msg or "an exception was ignored in", facts.object, exc_info=facts.exc_value)

    sys.excepthook, threading.excepthook, sys.unraisablehook = of_main, of_thread, of_finalizer


def access_log_writer() -> Write:
    """Return the writer of the access log of this task's service.

    After `set_up_logging`, the writer bypasses all loggers, which takes a fifth of the time. The writer does nothing if
    the log level is above "info".
    """
    lines = current_lines()
    if lines is None:
        return log_call
    return lines.write_call if logging.getLogger(LOGGER).isEnabledFor(logging.INFO) else _discard


def _discard(_facts: Mapping[str, object]) -> None:
    pass


def _shared_processors() -> list[Processor]:
    return [
        add_call_context,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.ExceptionRenderer(_exception_text),
    ]


def _json_of(service: str) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_shared_processors(),
        processors=[
            lambda _logger, _name, event: {"service": service, **event},
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            lambda _logger, _name, event: json_line(event).decode().rstrip("\n"),
        ],
    )


def _exception_text(exc_info: ExcInfo) -> str:
    return traceback_text(exc_info[1])


def add_call_context(_logger: object, _name: str, event: EventDict) -> EventDict:
    """Add the current call's correlation id, and the ids of the current span if it is recorded, to a log line."""
    context = current_context()
    if context is not None:
        event.setdefault("correlation_id", context.correlation_id)
    span = trace.get_current_span().get_span_context()
    if span.is_valid and span.trace_flags.sampled:
        event.setdefault("trace_id", trace.format_trace_id(span.trace_id))
        event.setdefault("span_id", trace.format_span_id(span.span_id))
    return event


def resource_of(service: str) -> Resource:
    """Return the resource of a service: its name, its instance and the OTEL_RESOURCE_ATTRIBUTES."""
    return Resource.create({SERVICE_NAME: service})


def set_up_tracing(settings: Settings, service: str, exit_timeout_s: float = EXIT_TIMEOUT_S) -> SamplingProvider:
    """Export the spans of this process as `open_tracers` does, with the global provider."""
    provider = open_tracers(settings, service, exit_timeout_s)
    trace.set_tracer_provider(provider)
    return provider


def open_tracers(settings: Settings, service: str, exit_timeout_s: float = EXIT_TIMEOUT_S) -> SamplingProvider:
    """Export a service's spans as configured; `shutdown()` of the returned provider exports the queued spans.

    `shutdown()` takes at most `exit_timeout_s` for each of the two destinations.
    """
    provider = SamplingProvider(settings.trace_sample_ratio, resource=resource_of(service), shutdown_on_exit=False)

    def export(exporter: SpanExporter, failure: str, interval_ms: float | None = None) -> None:
        reporting = ReportingExporter(exporter, failure)
        provider.exporters.append(reporting)
        provider.add_span_processor(BoundedShutdownProcessor(reporting, exit_timeout_s, interval_ms))

    if settings.span_dir is not None:
        store = FolderSpanExporter(settings.span_dir, service)
        export(store, f"traces cannot be written to {settings.span_dir.absolute()}", EXPORT_INTERVAL_MS)
    endpoint = settings.collector_of("traces")
    if endpoint is not None:
        from mesh.telemetry.otlp.exports import span_exporter  # noqa: PLC0415 - costs 10 MB, and most local processes do not need it

        export(span_exporter(settings, endpoint), f"OTEL_EXPORTER_OTLP_ENDPOINT: traces do not reach {endpoint}")
    return provider


def telemetry_troubles() -> list[str]:
    """Return one sentence for each destination that rejects the logs, traces or metrics of this task's service."""
    provider, lines = current_tracers(), current_lines()
    exporters = provider.exporters if isinstance(provider, SamplingProvider) else []
    logs = [] if lines is None else [lines.trouble]
    troubles = (*logs, *(each.trouble for each in exporters), *export_troubles())
    return [trouble for trouble in troubles if trouble]
