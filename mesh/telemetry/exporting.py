"""Export of a process's spans, metrics and log lines while it runs, and of the last ones when it stops."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from opentelemetry import trace
from prometheus_client import REGISTRY

from mesh.telemetry.export_state import reported
from mesh.telemetry.setup import EXIT_TIMEOUT_S, open_tracers, resource_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import TracerProvider
    from prometheus_client import CollectorRegistry

    from mesh.config import Settings
    from mesh.telemetry.log_lines import LogLineHandler
    from mesh.telemetry.otlp.log_export import LogExport
    from mesh.telemetry.otlp.metric_export import MetricExport


@contextmanager
def exporting(settings: Settings, service: str, lines: LogLineHandler) -> Iterator[None]:
    """Export the telemetry of this process while the context is open. Its spans are those of the global provider."""
    with exporting_service(settings, service, lines, REGISTRY) as tracers:
        trace.set_tracer_provider(tracers)
        yield


@contextmanager
def exporting_service(
    settings: Settings, service: str, lines: LogLineHandler, registry: CollectorRegistry
) -> Iterator[TracerProvider]:
    """Export the metrics of `registry` and the lines of `lines` as configured, while the context is open.

    Yields a provider whose spans are exported too. At the end of the context, everything that waits is exported for at
    most EXIT_TIMEOUT_S.
    """
    with ExitStack() as stack:
        logs = _start_log_export(settings, service, lines, stack)
        tracers = open_tracers(settings, service)
        metrics = _start_metric_export(settings, service, registry, stack)
        try:
            yield tracers
        finally:
            ends_at = time.monotonic() + EXIT_TIMEOUT_S
            # Metrics at the same time as spans, because a slow collector would take too long for one after the other.
            # Log lines are exported every second anyway.
            if metrics is not None:
                metrics.request_stop()
            tracers.shutdown()
            if metrics is not None:
                metrics.stop(ends_at - time.monotonic())
            if logs is not None:
                lines.flush()
                lines.export = None
                logs.stop(ends_at - time.monotonic())


def _start_log_export(settings: Settings, service: str, lines: LogLineHandler, stack: ExitStack) -> LogExport | None:
    collector = settings.collector_of("logs")
    if collector is None:
        return None
    from mesh.telemetry.otlp.exports import start_log_export  # noqa: PLC0415 - most local processes do not need it

    export, state = start_log_export(settings, collector, resource_of(service))
    lines.export = export.add
    stack.enter_context(reported(state))
    return export


def _start_metric_export(
    settings: Settings, service: str, registry: CollectorRegistry, stack: ExitStack
) -> MetricExport | None:
    collector = settings.collector_of("metrics")
    if collector is None:
        return None
    from mesh.telemetry.otlp.exports import start_metric_export  # noqa: PLC0415 - most local processes do not need it

    export, state = start_metric_export(settings, collector, resource_of(service), registry)
    stack.enter_context(reported(state))
    return export
