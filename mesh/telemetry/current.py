"""Telemetry of the service that the current task belongs to: its log, its tracers and its metrics.

A process usually runs one service, and has one of each. In a process with several services (`local.one_process`), each
service runs with a `ServiceTelemetry` of its own, which its tasks inherit.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opentelemetry import trace
from prometheus_client import REGISTRY

from interceptors.chain.server import ServerInterceptor
from mesh.telemetry.log_lines import LogLineHandler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.trace import TracerProvider
    from prometheus_client import CollectorRegistry

    from interceptors.chain.call import Call


@dataclass(frozen=True, slots=True)
class ServiceTelemetry:
    """Telemetry of one of several services in a process."""

    lines: LogLineHandler
    tracers: TracerProvider
    registry: CollectorRegistry


_current: ContextVar[ServiceTelemetry | None] = ContextVar("solo60_telemetry", default=None)


@contextmanager
def telemetry_of_service(telemetry: ServiceTelemetry) -> Iterator[None]:
    """Use `telemetry` in this task, and in all tasks that it starts, while the context is open."""
    token = _current.set(telemetry)
    try:
        yield
    finally:
        _current.reset(token)


class ServerTelemetry(ServerInterceptor):
    """Server interceptor that serves calls with a service's telemetry.

    Only the native engine needs it: its handlers run outside of the context that started the server.
    """

    def __init__(self, telemetry: ServiceTelemetry) -> None:
        self._telemetry = telemetry

    def start(self, call: Call) -> None:  # noqa: ARG002 - the same for all calls
        # Never reset, because the context ends with the task of the call.
        _current.set(self._telemetry)


def current_telemetry() -> ServiceTelemetry | None:
    """Return the telemetry of this task's service, or None if the process has only one."""
    return _current.get()


def current_registry() -> CollectorRegistry:
    """Return the metrics of this task's service."""
    telemetry = _current.get()
    return REGISTRY if telemetry is None else telemetry.registry


def current_tracers() -> TracerProvider:
    """Return the tracers of this task's service."""
    telemetry = _current.get()
    return trace.get_tracer_provider() if telemetry is None else telemetry.tracers


def current_lines() -> LogLineHandler | None:
    """Return the log of this task's service, or None if the process has no log, because it is a command."""
    telemetry = _current.get()
    if telemetry is not None:
        return telemetry.lines
    return next((each for each in logging.getLogger().handlers if isinstance(each, LogLineHandler)), None)


class ProcessLog(LogLineHandler):
    """Log of a process, and the only handler of all loggers. Passes a service's record to the log of that service."""

    def handle(self, record: logging.LogRecord) -> bool:
        """Pass a record to the log of this task's service, or write it as a line of the process."""
        telemetry = _current.get()
        return bool(super().handle(record) if telemetry is None else telemetry.lines.handle(record))
