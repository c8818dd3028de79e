"""Program that runs all services in one process, for a machine with little memory.

Each service has its own port, key, database role, log, spans and metrics, as in a process of its own. The parent, a
supervisor, sends the settings of all services as one line of JSON when the databases are ready.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack, asynccontextmanager
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from mesh.loading import loading_service

with loading_service():
    from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

    from contracts.services import SERVICE_NAMES
    from local.parts import ALL_SERVICES
    from mesh.config import SettingsError, load_settings
    from mesh.serving.process import serving
    from mesh.serving.program import line_from_parent, run_program
    from mesh.telemetry.current import ServiceTelemetry, current_tracers, telemetry_of_service
    from mesh.telemetry.exporting import exporting_service
    from mesh.telemetry.setup import log_of_service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from mesh.config import Settings
    from mesh.serving.service import Service


def main() -> None:
    """Run all services until SIGTERM or SIGINT; exit with code 2 and one sentence if a setting is wrong."""
    with loading_service():
        services: dict[str, Service] = {name: resolve_name(f"services.{name}.app:SERVICE") for name in SERVICE_NAMES}

    def prepare(_settings: Settings) -> AbstractAsyncContextManager[None]:
        given = json.loads(line_from_parent("settings of the services"))
        return serving_all(services, {name: load_settings(**own) for name, own in given.items()})

    run_program(ALL_SERVICES, prepare)


@asynccontextmanager
async def serving_all(services: Mapping[str, Service], settings: Mapping[str, Settings]) -> AsyncIterator[None]:
    """Serve services with their settings while the context is open, then drain all of them at the same time.

    Raises SettingsError if a service cannot start, after the others have stopped.
    """
    stopping = asyncio.Event()
    try:
        async with asyncio.TaskGroup() as group:
            waiting = []
            for name, own in settings.items():
                is_serving = asyncio.Event()
                waiting.append(is_serving.wait())
                group.create_task(_serve(services[name], own, is_serving, stopping), name=f"service {name}")
            try:
                await asyncio.gather(*waiting)
                yield
            finally:
                stopping.set()
    except BaseExceptionGroup as failures:
        wrong = failures.subgroup(SettingsError)
        if wrong is None:
            raise
        raise wrong.exceptions[0] from None


async def _serve(service: Service, settings: Settings, is_serving: asyncio.Event, stopping: asyncio.Event) -> None:
    """Serve one service, with its own telemetry, until `stopping` is set."""
    async with (
        _telemetry_of(service.name, settings),
        serving(service, settings, settings.listen_address_of(service.name)),
    ):
        is_serving.set()
        await stopping.wait()


@asynccontextmanager
async def _telemetry_of(name: str, settings: Settings) -> AsyncIterator[None]:
    """Use the service's own log file, spans and metrics in this task while the context is open."""
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    with settings.log_path_of(name).open("ab", buffering=0) as stream:
        lines, exports = log_of_service(stream, name), ExitStack()
        # The exports log their failures with the telemetry that is in use when they start.
        with telemetry_of_service(ServiceTelemetry(lines, current_tracers(), registry)):
            tracers = exports.enter_context(exporting_service(settings, name, lines, registry))
        try:
            with telemetry_of_service(ServiceTelemetry(lines, tracers, registry)):
                yield
        finally:
            # In a thread, because the last export waits for its destination, and so do those of the other services.
            await asyncio.to_thread(exports.close)
            lines.flush()


if __name__ == "__main__":
    main()
