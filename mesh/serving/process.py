"""Process of one service: serve, and drain on SIGTERM without losing a call."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from interceptors.deadline.interceptor import remaining_s
from mesh.clock import open_clock
from mesh.config import SettingsError
from mesh.data.database import Database, DatabaseUnavailable
from mesh.data.idempotency import deleting_old_keys
from mesh.data.migrations import MESH_MIGRATIONS, MigrationError, pending_versions, reject_old_server
from mesh.serving.channel import Channels
from mesh.serving.health import Health
from mesh.serving.key_uses import recording_key_uses
from mesh.serving.keyring_file import accepted_keys, own_key
from mesh.serving.outbox import serve_outbox
from mesh.serving.program import run
from mesh.serving.server import MeshServer, server_interceptors
from mesh.serving.service import Runtime
from mesh.telemetry.current import current_registry
from mesh.telemetry.metrics import serve_metrics
from mesh.telemetry.setup import telemetry_troubles

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from mesh.clock import Clock
    from mesh.config import Settings
    from mesh.serving.service import Service

HEALTH_TIMEOUT_S = 1.0

_log = structlog.stdlib.get_logger("solo60.process")


def main(service: Service) -> None:
    """Run `service` until SIGTERM or SIGINT; exit with code 2 and one sentence if a setting is wrong."""
    run(service.name, lambda settings: serving(service, settings, settings.listen_address_of(service.name)))


@asynccontextmanager
async def serving(
    service: Service, settings: Settings, address: str, clock: Clock | None = None
) -> AsyncIterator[MeshServer]:
    """Serve `service` at `address` while the context is open, then drain.

    `clock` is by default that of the settings.

    Draining has these steps: let running HTTP requests finish, report NOT_SERVING, wait until callers have noticed,
    close the port, end endless streams, let running calls finish, stop background work, close channels and database.
    """
    async with AsyncExitStack() as stack:
        runtime = await stack.enter_async_context(_runtime(service.name, settings, service.migrations, clock))
        await stack.enter_async_context(deleting_old_keys(runtime.database))
        servicer = await stack.enter_async_context(service.open(runtime))
        outbox = await stack.enter_async_context(serve_outbox(service.name, runtime))
        breakers = runtime.channels.breakers
        health = Health(
            service.descriptor.full_name,
            breakers.states,
            outbox.dead_letters,
            lambda: [*runtime.database.troubles(), *telemetry_troubles(), *sorted(runtime.troubles)],
        )
        keyring = accepted_keys(settings)
        await stack.enter_async_context(recording_key_uses(keyring, settings.keyring_path))
        interceptors = server_interceptors(settings, keyring, clock=runtime.clock)
        server = MeshServer(service, servicer, outbox, health, interceptors, settings.engine)
        await server.start(address)
        stack.push_async_callback(server.stop, settings.drain_grace_s)
        stack.push_async_callback(_announce_stop, health, settings.drain_wait_s, runtime.stopping)
        await stack.enter_async_context(health.polling(lambda: runtime.database.is_reachable(HEALTH_TIMEOUT_S)))
        # Last, so that it ends first: HTTP requests become calls of this service, which must still be SERVING.
        await stack.enter_async_context(_serve_http(service, runtime))
        _log.info("serving", address=address, pid=os.getpid())
        yield server


@asynccontextmanager
async def _serve_http(service: Service, runtime: Runtime) -> AsyncIterator[None]:
    """Serve the service's HTTP part at HTTP_ADDRESS while the context is open, if it has both."""
    address = runtime.settings.http_address
    if service.http is None or address is None:
        yield
        return
    from mesh.serving.http import serve_http  # noqa: PLC0415 - costs memory that most services do not need

    async with serve_http(service.http(runtime), address, runtime.settings.drain_grace_s):
        yield


@asynccontextmanager
async def relay_outbox(name: str, settings: Settings) -> AsyncIterator[None]:
    """Relay the outbox of the named service while the context is open, in addition to the relays in its processes."""
    async with _runtime(name, settings, MESH_MIGRATIONS) as runtime, serve_outbox(name, runtime):
        _log.info("relaying", pid=os.getpid())
        yield


@asynccontextmanager
async def _runtime(
    name: str, settings: Settings, migrations: Path, given_clock: Clock | None = None
) -> AsyncIterator[Runtime]:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(
            serve_metrics(
                settings.metrics_address, current_registry(), is_exported=settings.collector_of("metrics") is not None
            )
        )
        clock = await stack.enter_async_context(open_clock(settings)) if given_clock is None else given_clock
        channels = Channels(settings, own_key(settings))
        stack.push_async_callback(channels.close)
        database = await _open_database(settings, clock)
        stack.push_async_callback(database.close)
        await _reject_unready_database(name, database, migrations)
        yield Runtime(settings, database, channels, clock, stopping=asyncio.Event())


async def _open_database(settings: Settings, clock: Clock) -> Database:
    url = settings.database_url
    if url is None:
        raise SettingsError("DATABASE_URL: not set; a service needs the URL of its database.")
    try:
        return await Database.connect(
            url.get_secret_value(),
            max_connections=settings.database_connections,
            remaining_s=remaining_s,
            clock=clock,
        )
    except DatabaseUnavailable as error:
        raise SettingsError(f"DATABASE_URL: {error}") from None
    except ValueError:  # its text quotes the unreadable part of the URL, which may hold the password
        raise SettingsError("DATABASE_URL: this is not the URL of a PostgreSQL database.") from None


async def _reject_unready_database(name: str, database: Database, migrations: Path) -> None:
    """Raise SettingsError unless the server is new enough and all migrations of this code are applied.

    A database may be ahead of the code: during a rolling update, old replicas use the new tables.
    """
    try:
        async with database.connection() as connection:
            reject_old_server(connection)
            pending = await pending_versions(connection, migrations)
    except MigrationError as error:
        raise SettingsError(f"DATABASE_URL: {error}") from None
    if pending:
        missing = ", ".join(pending)
        raise SettingsError(
            f"DATABASE_URL: the database of {name} lacks the migrations {missing}; `solo60 migrate` applies them."
        )


async def _announce_stop(health: Health, wait_s: float, stopping: asyncio.Event) -> None:
    await health.stop_serving()
    await asyncio.sleep(wait_s)
    stopping.set()
    health.end_watches()
