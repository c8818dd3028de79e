"""Telemetry: logs as lines of JSON on standard output, traces to a collector or to the local span store (S5)."""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import structlog
from opentelemetry import trace
from opentelemetry.sdk.resources import SERVICE_NAME, Resource

from interceptors.access_log import LOGGER, log_call
from interceptors.context import current_context
from mesh.config import SettingsError
from mesh.connection import connection_options
from mesh.library_lines import LibraryLines
from mesh.log_lines import LogLines, json_line
from mesh.sampling import SamplingProvider
from mesh.span_exporting import PatientProcessor, ReportingExporter
from mesh.spans import FolderSpanExporter
from mesh.tracebacks import traceback_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import BinaryIO

    from opentelemetry.sdk.trace.export import SpanExporter
    from structlog.typing import EventDict, ExcInfo, Processor

    from interceptors.access_log import Write
    from mesh.config import Settings

# Short, so that a trace can be looked at as soon as its call has ended.
EXPORT_INTERVAL_MS = 200
# A service that stops has this long for its last spans; a collector that is gone must not delay the stop.
EXIT_PATIENCE_S = 5.0


def set_up_logging(settings: Settings, service: str, stream: BinaryIO | None = None) -> LogLines:
    """Write every log line of this process, also those of libraries, as one JSON object to `stream` or standard output.

    Python's warnings and the exceptions that nobody catches are logged too. Exceptions are written as mesh.tracebacks
    has them. Returns the handler of all loggers.
    """
    shared: list[Processor] = [
        add_call_context,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.ExceptionRenderer(_exception_text),
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    # Without a buffer: one that a full disk does not take would fail the end of the process.
    unbuffered: BinaryIO = getattr(sys.stdout.buffer, "raw", sys.stdout.buffer)
    lines = LogLines(stream or unbuffered, service)
    lines.setFormatter(_json_of(service, shared))
    lines.addFilter(LibraryLines())
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    logging.basicConfig(level=level, handlers=[lines], force=True)
    logging.captureWarnings(capture=True)
    _log_uncaught_exceptions()
    return lines


def log_stream(settings: Settings) -> BinaryIO:
    """Open the log of a process: the file that its parent handed down as LOG_FD, or a copy of standard output.

    Raises SettingsError where LOG_FD is no open file.
    """
    if settings.log_fd is None:
        return os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    try:
        os.set_inheritable(settings.log_fd, False)  # noqa: FBT003 - the standard library's
        return os.fdopen(settings.log_fd, "ab", buffering=0)
    except OSError:
        raise SettingsError("LOG_FD: is not an open file.") from None


def _log_uncaught_exceptions() -> None:
    """Log an exception that the interpreter would print as a traceback, without values that a database error quotes."""
    log = logging.getLogger("solo60.uncaught")

    def of_main(_kind: type[BaseException], error: BaseException, _traceback: object) -> None:
        log.critical("the process ends by an uncaught exception", exc_info=error)

    def of_thread(facts: threading.ExceptHookArgs) -> None:
        log.error("a thread ended by an uncaught exception", exc_info=facts.exc_value)

    def of_finalizer(facts: sys.UnraisableHookArgs) -> None:
        log.error("%s: %r", facts.err_msg or "an exception was ignored in", facts.object, exc_info=facts.exc_value)

    sys.excepthook, threading.excepthook, sys.unraisablehook = of_main, of_thread, of_finalizer


def access_log_writer() -> Write:
    """Return what writes the access log of this process: where `set_up_logging` was called, past all loggers.

    That takes a fifth of the time. It writes nothing where the log level is above "info".
    """
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LogLines):
            return handler.write_call if logging.getLogger(LOGGER).isEnabledFor(logging.INFO) else _discard
    return log_call


def _discard(_facts: Mapping[str, object]) -> None:
    pass


def _json_of(service: str, shared: list[Processor]) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            lambda _logger, _name, event: {"service": service, **event},
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            lambda _logger, _name, event: json_line(event).decode().rstrip("\n"),
        ],
    )


def _exception_text(exc_info: ExcInfo) -> str:
    return traceback_text(exc_info[1])


def add_call_context(_logger: object, _name: str, event: EventDict) -> EventDict:
    """Name, in every line that is written while a call is served, that call."""
    context = current_context()
    if context is not None:
        event.setdefault("correlation_id", context.correlation_id)
    return event


def set_up_tracing(settings: Settings, service: str, exit_patience_s: float = EXIT_PATIENCE_S) -> SamplingProvider:
    """Make this process's spans go where the settings say; `shutdown()` of the result sends those that wait.

    For each of the two places, `shutdown()` takes at most `exit_patience_s`.
    """
    resource = Resource.create({SERVICE_NAME: service})
    provider = SamplingProvider(settings.trace_sample_ratio, resource=resource, shutdown_on_exit=False)

    def export(exporter: SpanExporter, failure: str, interval_ms: float | None = None) -> None:
        reporting = ReportingExporter(exporter, failure)
        provider.exporters.append(reporting)
        provider.add_span_processor(PatientProcessor(reporting, exit_patience_s, interval_ms))

    if settings.span_dir is not None:
        store = FolderSpanExporter(settings.span_dir, service)
        export(store, f"traces are not kept in {settings.span_dir.absolute()}", EXPORT_INTERVAL_MS)
    endpoint = settings.otel_exporter_otlp_endpoint
    if endpoint is not None:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - costs 10 MB, and most processes of a laptop need none

        # Typed as options of strings alone.
        options: Any = tuple(connection_options(through_proxy=settings.calls_through_proxy))
        exporter = OTLPSpanExporter(endpoint, channel_options=options)
        export(exporter, f"OTEL_EXPORTER_OTLP_ENDPOINT: traces do not reach {endpoint}")
    trace.set_tracer_provider(provider)
    return provider


def telemetry_troubles() -> list[str]:
    """Return a sentence for each place that accepts no logs or no traces of this process."""
    provider = trace.get_tracer_provider()
    exporters = provider.exporters if isinstance(provider, SamplingProvider) else []
    logs = [handler for handler in logging.getLogger().handlers if isinstance(handler, LogLines)]
    troubles = (*(each.trouble for each in logs), *(each.trouble for each in exporters))
    return [trouble for trouble in troubles if trouble]
