"""Supervisor that runs the whole mesh on one machine as child processes and stops all of them in order."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Self

from contracts.services import SERVICE_NAMES
from local.child import Child
from local.commands import handle_command
from local.control import serve_commands
from local.disk import reject_full_disk
from local.folder_lock import FolderLock, lock_folder
from local.held_ports import HeldPorts
from local.keys import ensure_local_keys
from local.mail_sink import MailSink
from local.movable_clock import CLOCK_FACT, clock_in, ensure_clock_file
from local.orphans import without_orphans
from local.parts import (
    ALL_SERVICES,
    CONSOLE,
    MAIL_SINK,
    MESH,
    POSTGRES,
    STARTING,
    MeshError,
    UnexpectedExit,
    unexpected_exit_of_postgres,
    unexpected_exit_of_service,
)
from local.postgres.server import HOST, EmbeddedPostgres
from local.preflight import reject_unusable_settings
from local.process_starter import ProcessStarter
from local.readiness import wait_until_answering
from local.service_databases import (
    check_databases,
    create_databases,
    database_url_of,
    reject_unusable_services,
)
from local.service_processes import ServiceProcesses
from local.supervised_settings import (
    NO_LISTEN_ADDRESSES,
    console_problem_of,
    environment_of_console,
    hold_ports,
    mail_sink_port,
    reject_settings_of_one_process,
)
from mesh.serving.health_probe import SERVING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from local.forking import ForkServer
    from local.parts import Report
    from mesh.config import Settings

# Added to the drain times of the settings.
STOP_TIMEOUT_S = 5.0


def _report_nothing(_part: str, _state: str) -> None: ...


class Mesh:
    """The services in their processes, with PostgreSQL and a mail sink, as an async context manager.

    The data is in DATA_DIR: database, keyring, keys, logs, spans, mail. Without DATABASE_URL the mesh runs its own
    PostgreSQL. If SMTP_URL is on loopback, the mesh runs its own mail sink on that port. All parts end when this
    process ends for any reason. `report` receives each part ("gym", "postgresql", "mail_sink") and its new state.
    With `in_one_process`, the services share one process. With `with_console`, the mesh runs the console too;
    `console_problem` is the reason if it cannot, or "". `listen_addresses` are for services that listen on another
    address than their callers use, because they are behind an external proxy. `fork_server` is one that runs already,
    for a faster start.
    """

    def __init__(
        self,
        settings: Settings,
        report: Report = _report_nothing,
        listen_addresses: Mapping[str, str] = NO_LISTEN_ADDRESSES,
        fork_server: ForkServer | None = None,
        *,
        with_console: bool = False,
        in_one_process: bool = False,
    ) -> None:
        self.settings = settings
        self.console_problem = ""
        self._with_console = with_console
        self.exit_codes: dict[str, int] = {}
        # Last reported state of each part.
        self.states: dict[str, str] = {}
        self.server_url = ""
        self._listen_addresses = listen_addresses
        self._on_report = report
        self._stack = AsyncExitStack()
        self._children: dict[str, Child] = {}
        self._starter = ProcessStarter(self.report, fork_server)
        self._services = ServiceProcesses(
            settings, self.report, listen_addresses, self._children, self._starter, in_one_process=in_one_process
        )
        self._postgres: EmbeddedPostgres | None = None
        # One lock per part, so that a requested restart and a restart after a crash do not overlap.
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Return once every service is SERVING; otherwise stop the started parts and raise.

        Raises SettingsError, FolderInUse, OrphansRemain, PostgresError, MailSinkError, MigrationError, or MeshError
        with the last output of a service.
        """
        try:
            await self._start()
        except BaseException as error:
            await self.stop()
            if isinstance(error, BaseExceptionGroup):
                raise _first_of(error) from None
            raise

    async def stop(self) -> None:
        """Drain the services, then stop the mail sink and PostgreSQL. Then `exit_codes` is complete."""
        self._starter.stop_forking()
        await self._stack.aclose()

    async def restart(self, name: str) -> None:
        """Drain a part if it still runs, start it again, and return once it is SERVING.

        "postgresql" is the mesh's own server. Raises MeshError or PostgresError if the part does not start.
        """
        async with self._locks[name]:
            await self._restart(name)

    async def restart_after(self, name: str, unexpected_exit: UnexpectedExit) -> bool:
        """Restart a part after `unexpected_exit`; return False if it restarted already. Raises as `restart` does."""
        async with self._locks[name]:
            if self._unexpected_exit_of(name) != unexpected_exit:
                return False
            await self._restart(name)
            return True

    async def _restart(self, name: str) -> None:
        if name == POSTGRES:
            if self._postgres is None:
                raise MeshError("PostgreSQL cannot be restarted by this mesh: DATABASE_URL names an external server.")
            self.report(POSTGRES, "restarting")
            await self._postgres.restart()
            self.report(POSTGRES, SERVING)
            return
        if name not in self._children:
            raise MeshError(self._why_not_restartable(name))
        await self._stop_children([self._children[name]])
        if name == CONSOLE:
            await self._start_console()
        else:
            self._services.launch(name)
            await self._services.start_serving(name, self.server_url)

    def _why_not_restartable(self, name: str) -> str:
        if ALL_SERVICES in self._children and name in SERVICE_NAMES:
            return f"{name} shares a process with all other services: `solo60 restart {ALL_SERVICES}` restarts them."
        return f"{name} is not a part of this mesh."

    def unexpected_exit_of(self, name: str) -> UnexpectedExit | None:
        """Return the UnexpectedExit of a part that ended unexpectedly, or None while it runs or restarts."""
        return None if self._locks[name].locked() else self._unexpected_exit_of(name)

    def _unexpected_exit_of(self, name: str) -> UnexpectedExit | None:
        return (
            unexpected_exit_of_postgres(self._postgres)
            if name == POSTGRES
            else unexpected_exit_of_service(self._children[name])
        )

    def parts(self) -> tuple[str, ...]:
        """Return the names of the parts that can be restarted."""
        console = (CONSOLE,) if CONSOLE in self._children else ()
        return (*(() if self._postgres is None else (POSTGRES,)), *self._services.parts, *console)

    def postgres_pid(self) -> int | None:
        """Return the process id of the mesh's own PostgreSQL, or None."""
        return self._postgres.server_pid if self._postgres is not None else None

    def report(self, part: str, state: str) -> None:
        """Report the current state of a part."""
        self.states[part] = state
        self._on_report(part, state)

    def without_metrics(self) -> list[str]:
        """Return the services without a metrics endpoint, because its port is taken."""
        return [name for name, shows in self._services.shows_metrics.items() if not shows]

    def database_url_of(self, name: str) -> str:
        """Return the URL of a service's own database."""
        return database_url_of(self.server_url, name)

    def environment_of(self, name: str) -> dict[str, str]:
        """Return the environment of a service's process, without its DATABASE_URL."""
        return self._services.environment_of(name)

    async def _start(self) -> None:
        settings = self.settings
        reject_unusable_services()
        reject_settings_of_one_process(settings)
        lock = self._stack.enter_context(lock_folder(settings.data_dir))
        reject_unusable_settings(settings)
        reject_full_disk(settings)
        if settings.clock_file is not None:
            ensure_clock_file(settings.clock_file)
        self._starter.lock = await self._stack.enter_async_context(
            without_orphans(
                settings.data_dir,
                self._stop_timeout_s,
                lambda: self.report(MESH, "waiting for the services of a killed mesh"),
            )
        )
        ports = HeldPorts()
        self._stack.callback(ports.close)
        await hold_ports(ports, settings, self._listen_addresses)
        if settings.database_url is not None:
            await check_databases(settings, settings.database_url.get_secret_value())
        ensure_local_keys(settings)
        postgres = EmbeddedPostgres(settings.postgres_folder, port=await ports.hold("DATA_DIR", HOST, 0))
        self._stack.push_async_callback(postgres.stop)
        await self._start_mail_sink()
        self._stack.push_async_callback(self._stop_services)
        async with asyncio.TaskGroup() as group:
            # The services load their code while PostgreSQL starts.
            launching = group.create_task(self._services.launch_all())
            if settings.database_url is None:
                self.report(POSTGRES, STARTING)
                await postgres.start()
                self._postgres = postgres
                self.report(POSTGRES, SERVING)
                lock.publish(database_url=postgres.url)
                await check_databases(settings, postgres.url)
                await create_databases(postgres.url)
            self.server_url = settings.database_url.get_secret_value() if settings.database_url else postgres.url
            for part in self._services.parts:
                group.create_task(self._services.bring_up(part, self.server_url, launching))
        if self._with_console:
            self.console_problem = console_problem_of(settings)
            if not self.console_problem:
                await self._start_console()
        self._starter.stop_forking()
        await self._serve_commands(lock)

    async def _serve_commands(self, lock: FolderLock) -> None:
        address = await self._stack.enter_async_context(serve_commands(partial(handle_command, self)))
        database = {} if self._postgres is None else {"database_url": self._postgres.url}
        clock_file = self.settings.clock_file
        clock = {} if clock_file is None else {CLOCK_FACT: str(clock_file.absolute())}
        lock.publish(**database, **clock, **address.as_facts())

    async def _start_mail_sink(self) -> None:
        port = mail_sink_port(self.settings)
        if port is not None:
            await self._stack.enter_async_context(
                MailSink(self.settings.inbox_folder, port=port, clock=clock_in(self.settings))
            )
            self.report(MAIL_SINK, SERVING)

    async def _start_console(self) -> None:
        self.report(CONSOLE, STARTING)
        environment = environment_of_console(self.settings)
        log = self.settings.log_path_of(CONSOLE)
        child = Child(CONSOLE, environment, log, [CONSOLE], self._starter)
        self._children[CONSOLE] = child
        await wait_until_answering(child, self.settings.console_listen_address)
        self.report(CONSOLE, SERVING)

    async def _stop_services(self) -> None:
        self.exit_codes = await self._stop_children(self._children.values())

    async def _stop_children(self, children: Iterable[Child]) -> dict[str, int]:
        """Drain services, kill those that exceed the time limit, and return all exit codes."""
        running = [child for child in children if child.exit_code is None]
        for child in running:
            child.terminate()
        try:
            async with asyncio.timeout(self._stop_timeout_s):
                await asyncio.gather(*(child.wait() for child in running))
        except TimeoutError:
            for child in running:
                child.kill()
        return {child.name: await child.wait() for child in children}

    @property
    def _stop_timeout_s(self) -> float:
        return self.settings.drain_wait_s + self.settings.drain_grace_s + STOP_TIMEOUT_S


def _first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _first_of(first) if isinstance(first, BaseExceptionGroup) else first
