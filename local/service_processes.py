"""Processes of the services in a local mesh: one for each service, or one for all."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from contracts.services import SERVICE_NAMES
from local.child import Child, prepare_log
from local.parts import ALL_SERVICES, STARTING
from local.readiness import wait_until_serving
from local.service_databases import database_url_of, migrate_service
from local.supervised_settings import (
    environment_of_all_services,
    environment_of_service,
    own_settings_of,
    settings_of_service,
)
from mesh.serving.health_probe import SERVING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.parts import Report
    from local.process_starter import ProcessStarter
    from mesh.config import Settings

ONE_PROCESS = "local.one_process"


class ServiceProcesses:
    """Processes that run the services of a local mesh, each named as a part of the mesh.

    With `in_one_process`, the part "services" runs all services. `children` receives the running processes.
    """

    def __init__(
        self,
        settings: Settings,
        report: Report,
        listen_addresses: Mapping[str, str],
        children: dict[str, Child],
        starter: ProcessStarter,
        *,
        in_one_process: bool,
    ) -> None:
        self.parts = (ALL_SERVICES,) if in_one_process else SERVICE_NAMES
        # Whether each service has a metrics endpoint.
        self.shows_metrics: dict[str, bool] = {}
        self._settings = settings
        self._report = report
        self._listen_addresses = listen_addresses
        self._children = children
        self._starter = starter

    def environment_of(self, part: str) -> dict[str, str]:
        """Return the environment of a part's process, without the settings that it receives on its standard input."""
        if part == ALL_SERVICES:
            return environment_of_all_services(self._settings)
        return environment_of_service(self._settings_of(part), part)

    async def launch_all(self) -> None:
        """Launch all processes. If there are several, fork them where the system supports that."""
        if self.parts != (ALL_SERVICES,):
            await self._starter.prepare_to_fork()
        for part in self.parts:
            self.launch(part)

    def launch(self, part: str) -> None:
        """Start a process, which loads its code and waits for `start_serving`."""
        self._report(part, "loading")
        program = [ONE_PROCESS] if part == ALL_SERVICES else [f"services.{part}"]
        if part == ALL_SERVICES:
            for name in SERVICE_NAMES:
                prepare_log(self._settings.log_path_of(name), name)
        log = self._settings.log_path_of(part)
        self._children[part] = Child(part, self.environment_of(part), log, program, self._starter)

    async def bring_up(self, part: str, server_url: str, launching: asyncio.Task[None]) -> None:
        """Migrate the databases of a part, wait for the end of `launch_all`, and start to serve."""
        self._report(part, "migrating")
        async with asyncio.TaskGroup() as group:
            for name in services_in(part):
                group.create_task(migrate_service(self._settings, server_url, name))
        await launching
        await self.start_serving(part, server_url)

    async def start_serving(self, part: str, server_url: str) -> None:
        """Let a launched process serve, and wait until its services are SERVING; raise MeshError if they fail."""
        self._report(part, STARTING)
        child = self._children[part]
        own = {name: self._own_settings_of(name, server_url) for name in services_in(part)}
        self.shows_metrics |= {name: "metrics_address" in settings for name, settings in own.items()}
        child.send_line(json.dumps(own) if part == ALL_SERVICES else own[part]["database_url"])
        for name in own:
            await wait_until_serving(child, name, self._settings_of(name))
        self._report(part, SERVING)

    def _own_settings_of(self, name: str, server_url: str) -> dict[str, str]:
        own = own_settings_of(self._settings_of(name), name) | {"database_url": database_url_of(server_url, name)}
        return {field: str(value) for field, value in own.items() if value is not None}

    def _settings_of(self, name: str) -> Settings:
        return settings_of_service(self._settings, name, self._listen_addresses)


def services_in(part: str) -> tuple[str, ...]:
    """Return the services that a part runs."""
    return SERVICE_NAMES if part == ALL_SERVICES else (part,)
