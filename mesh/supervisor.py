"""The supervisor: the whole mesh on one machine, as processes that start together, stop in order and leave nothing."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit, urlunsplit

from contracts.services import SERVICES
from mesh.child import POLL_INTERVAL_S, Child
from mesh.config import SERVICE_NAMES
from mesh.examination import Examination, examine
from mesh.folder_lock import folder_locked
from mesh.health_probe import SERVING, probe_of
from mesh.inbox import Inbox
from mesh.local_keys import OPERATOR, ensure_local_keys
from mesh.migrations import MigrationError, migrate
from mesh.postgres import EmbeddedPostgres
from mesh.preflight import refuse_unusable_databases, refuse_unusable_settings
from mesh.supervised_settings import (
    NOWHERE_ELSE,
    environment_of_service,
    inbox_port,
    refuse_ports_in_use,
    refuse_settings_of_one_process,
    settings_of_service,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mesh.config import Settings

    Report = Callable[[str, str], None]

SERVICES_FOLDER = Path(__file__).parents[1] / "services"
POSTGRES = "postgresql"
INBOX = "inbox"
START_PATIENCE_S = 60.0
# Beyond the time that draining may take by its settings.
STOP_PATIENCE_S = 5.0


class MeshError(Exception):
    """The mesh does not run; the sentence says why, and where to look."""


def _report_nothing(_part: str, _state: str) -> None: ...


class Mesh:
    """The seven services in processes of their own, with PostgreSQL and an inbox beside them, as a context manager.

    What it keeps lies in DATA_DIR: database, keyring, keys, logs, spans, mail. Without DATABASE_URL it runs its own
    PostgreSQL, and on the port of an SMTP_URL on loopback its own inbox. All of it ends with this process, however that
    ends. `report` is told of each part ("gym", "postgresql", "inbox") what it does now. `listen_addresses` are those of
    services that listen elsewhere than their callers find them: behind a proxy, which is not ours to start.
    """

    def __init__(
        self,
        settings: Settings,
        report: Report = _report_nothing,
        listen_addresses: Mapping[str, str] = NOWHERE_ELSE,
    ) -> None:
        self.settings = settings
        self._listen_addresses = listen_addresses
        self.exit_codes: dict[str, int] = {}
        self._report = report
        self._parts = AsyncExitStack()
        self._children: dict[str, Child] = {}
        self._shows_metrics: dict[str, bool] = {}
        self._server_url = ""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Return once every service is SERVING; otherwise stop what has started and raise.

        Raises SettingsError, FolderInUse, PostgresError, InboxError, MigrationError, or MeshError with the last words
        of a service.
        """
        try:
            await self._start()
        except BaseException as error:
            await self.stop()
            if isinstance(error, BaseExceptionGroup):
                raise _first_of(error) from None
            raise

    async def stop(self) -> None:
        """Drain the services, then stop inbox and PostgreSQL; `exit_codes` then tells how each service ended."""
        await self._parts.aclose()

    async def kill(self, name: str) -> None:
        """End a service at once, as a crash would."""
        self._children[name].kill()
        await self._children[name].ended()

    async def restart(self, name: str) -> None:
        """Drain a service where it still runs, start it again, and return once it is SERVING."""
        child = self._children[name]
        if child.exit_code is None:
            child.terminate()
        await child.ended()
        await self._begin(self._launch(name))

    def pids(self) -> dict[str, int]:
        """Return the process id of each service that was started."""
        return {name: child.pid for name, child in self._children.items()}

    def ended(self) -> dict[str, int]:
        """Return the exit codes of the services that are not running any more."""
        codes = {name: child.exit_code for name, child in self._children.items()}
        return {name: code for name, code in codes.items() if code is not None}

    def without_metrics(self) -> list[str]:
        """Return the services that show no metrics, because the port for them is taken."""
        return [name for name, shows in self._shows_metrics.items() if not shows]

    def database_url_of(self, name: str) -> str:
        """Return the URL of a service's own database."""
        return database_url_of(self._server_url, name)

    def environment_of(self, name: str) -> dict[str, str]:
        """Return the environment in which a service's process runs, without its database."""
        return environment_of_service(settings_of_service(self.settings, name, self._listen_addresses), name)

    async def _start(self) -> None:
        settings = self.settings
        refuse_settings_of_one_process(settings)
        lock = self._parts.enter_context(folder_locked(settings.data_dir))
        refuse_unusable_settings(settings)
        refuse_ports_in_use(settings, self._listen_addresses)
        if settings.database_url is not None:
            await check_databases(settings, settings.database_url.get_secret_value())
        ensure_local_keys(settings)
        postgres = EmbeddedPostgres(settings.postgres_folder)
        self._parts.push_async_callback(postgres.stop)
        await self._start_inbox()
        self._parts.push_async_callback(self._stop_services)
        # They load their code while PostgreSQL starts.
        for name in SERVICE_NAMES:
            self._launch(name)
        if settings.database_url is None:
            self._report(POSTGRES, "starting")
            await postgres.start()
            self._report(POSTGRES, SERVING)
            lock.publish(database_url=postgres.url)
            await check_databases(settings, postgres.url)
        self._server_url = settings.database_url.get_secret_value() if settings.database_url else postgres.url
        async with asyncio.TaskGroup() as group:
            for name in SERVICE_NAMES:
                group.create_task(self._bring_up(name))

    async def _start_inbox(self) -> None:
        port = inbox_port(self.settings)
        if port is not None:
            await self._parts.enter_async_context(Inbox(self.settings.inbox_folder, port=port))
            self._report(INBOX, SERVING)

    async def _bring_up(self, name: str) -> None:
        self._report(name, "migrating")
        await migrate_service(self.settings, self._server_url, name)
        await self._begin(self._children[name])

    def _launch(self, name: str) -> Child:
        self._report(name, "loading")
        environment = self.environment_of(name)
        self._shows_metrics[name] = bool(environment.get("METRICS_ADDRESS"))
        child = Child(name, environment, self.settings.log_path_of(name))
        self._children[name] = child
        return child

    async def _begin(self, child: Child) -> None:
        self._report(child.name, "starting")
        child.begin(self.database_url_of(child.name))
        await self._until_serving(child)
        self._report(child.name, SERVING)

    async def _until_serving(self, child: Child) -> None:
        give_up_at = time.monotonic() + START_PATIENCE_S
        key = self.settings.key_path_of(OPERATOR).read_text(encoding="utf-8").strip()
        own = settings_of_service(self.settings, child.name, self._listen_addresses)
        address, service = own.listen_address_of(child.name), SERVICES[child.name].full_name
        async with probe_of(address, service, key=key) as probe:
            while (status := await probe()) != SERVING:
                if child.exit_code is not None:
                    raise MeshError(f"{child.name} did not start: {child.last_words()} (log: {child.log})")
                if time.monotonic() > give_up_at:
                    raise MeshError(
                        f"{child.name} is {status} after {START_PATIENCE_S:.0f} s: {child.last_words()} "
                        f"(log: {child.log})"
                    )
                await asyncio.sleep(POLL_INTERVAL_S)

    async def _stop_services(self) -> None:
        children = self._children.values()
        for child in children:
            if child.exit_code is None:
                child.terminate()
        patience_s = self.settings.drain_wait_s + self.settings.drain_grace_s + STOP_PATIENCE_S
        try:
            async with asyncio.timeout(patience_s):
                await asyncio.gather(*(child.ended() for child in children))
        except TimeoutError:
            for child in children:
                child.kill()
        self.exit_codes = {child.name: await child.ended() for child in children}


def database_url_of(server_url: str, name: str) -> str:
    """Return the URL of a service's own database on a server."""
    return urlunsplit(urlsplit(server_url)._replace(path=f"/solo60_{name}"))


async def migrate_all(settings: Settings, server_url: str) -> dict[str, list[str]]:
    """Bring the databases of all services on a server to what their migrations say; return what was applied to each.

    Raises MigrationError before anything is applied where one of the databases does not fit this checkout.
    """
    await check_databases(settings, server_url)
    names = SERVICE_NAMES
    applied = await asyncio.gather(*(migrate_service(settings, server_url, name) for name in names))
    return dict(zip(names, applied, strict=True))


async def migrate_service(settings: Settings, server_url: str, name: str) -> list[str]:
    """Bring one service's database to what its migrations say; return the versions applied, raise MigrationError."""
    try:
        return await migrate(database_url_of(server_url, name), SERVICES_FOLDER / name / "migrations")
    except MigrationError as error:
        if settings.database_url is None:
            raise
        raise MigrationError(f"DATABASE_URL: {error}") from None


async def check_databases(settings: Settings, server_url: str) -> None:
    """Raise MigrationError where a service cannot have its database on a server; change nothing."""
    databases = {
        name: (database_url_of(server_url, name), SERVICES_FOLDER / name / "migrations") for name in SERVICE_NAMES
    }
    await refuse_unusable_databases(settings, databases)


async def examine_all(server_url: str) -> dict[str, Examination]:
    """Look into the databases of all services on a server, and change nothing."""
    found = (
        examine(database_url_of(server_url, name), SERVICES_FOLDER / name / "migrations") for name in SERVICE_NAMES
    )
    return dict(zip(SERVICE_NAMES, await asyncio.gather(*found), strict=True))


def _first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _first_of(first) if isinstance(first, BaseExceptionGroup) else first
