"""Export of a process's spans, metrics and log lines while it runs, and of the last ones when it stops."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY

from mesh.telemetry.export_state import reported
from mesh.telemetry.setup import EXIT_TIMEOUT_S, resource_of, set_up_tracing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mesh.config import Settings
    from mesh.telemetry.log_lines import LogLineHandler
    from mesh.telemetry.otlp.log_export import LogExport
    from mesh.telemetry.otlp.metric_export import MetricExport


@contextmanager
def exporting(settings: Settings, service: str, lines: LogLineHandler) -> Iterator[None]:
    """Export the spans, the metrics and the lines of `lines` as configured, while the context is open.

    At its end, the last ones are exported for at most EXIT_TIMEOUT_S.
    """
    with ExitStack() as stack:
        logs = _start_log_export(settings, service, lines, stack)
        tracers = set_up_tracing(settings, service)
        metrics = _start_metric_export(settings, service, stack)
        try:
            yield
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


def _start_metric_export(settings: Settings, service: str, stack: ExitStack) -> MetricExport | None:
    collector = settings.collector_of("metrics")
    if collector is None:
        return None
    from mesh.telemetry.otlp.exports import start_metric_export  # noqa: PLC0415 - most local processes do not need it

    export, state = start_metric_export(settings, collector, resource_of(service), REGISTRY)
    stack.enter_context(reported(state))
    return export
