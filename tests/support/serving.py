"""Mesh inside the test process: servers on real sockets, each with its own database, and stubs for them.

    async def test_a_gym_is_found(serve: Serve) -> None:
        mesh = await serve(gym.SERVICE)
        gyms = mesh.stub(GymServiceStub)

Everything is drained and dropped after the test.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest
import pytest_asyncio
from pydantic import SecretStr

from contracts.services import SERVICE_NAMES
from interceptors.keys.keyring import mint_key, record_of_key
from local.keys import OPERATOR, default_scopes
from mesh.clock import MovableClock
from mesh.config import Settings
from mesh.serving.channel import Channels, Stub
from mesh.serving.keyring_file import format_keyring
from mesh.serving.process import serving
from tests.support.ports import free_ports
from tests.support.postgres import lazy_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping
    from pathlib import Path

    from interceptors.keys.keyring import KeyRecord
    from mesh.data.database import Database
    from mesh.serving.channel import StubClass
    from mesh.serving.service import Service
    from tests.support.postgres import DatabaseFactory, PostgresForTests

# Longer deadlines, so that a busy machine does not fail a call.
DEADLINE_FACTOR = 10.0
# No load shedding, for the same reason.
NO_SHEDDING = {"shed_queue_delay_s": 60.0, "shed_least_concurrency": 1_000}
TEST_SETTINGS = {
    "deadline_factor": DEADLINE_FACTOR,
    "database_connections": 2,
    "drain_wait_s": 0.0,
    "strict_contracts": True,
    **NO_SHEDDING,
}


class Serve(Protocol):
    """Starter of services. Settings by field name override the defaults.

    `extra_scopes` adds scopes, by caller, to those of the contracts. `clock` is the clock of the services.
    """

    async def __call__(self, *services: Service, **settings: Any) -> MeshForTests:
        """Start `services` and return their mesh."""


class MeshForTests:
    """Running services with the callers' keys and the services' databases.

    `clock` is the clock of all services. A test moves it with `mesh.clock.advance(timedelta(days=7))`. With
    `http_service`, only that service listens on HTTP_ADDRESS.
    """

    def __init__(
        self,
        folder: Path,
        extra_scopes: Mapping[str, Iterable[str]] | None = None,
        http_service: str = "",
        clock: MovableClock | None = None,
        **settings: Any,
    ) -> None:
        self._extra_scopes = extra_scopes or {}
        self._http_service = http_service
        self.keys = {caller: mint_key("test") for caller in (*SERVICE_NAMES, OPERATOR)}
        self.keyring_path = folder / "keyring.json"
        self.write_keyring(self._records())
        urls = {
            f"{name}_service_url": f"127.0.0.1:{port}"
            for name, port in zip(SERVICE_NAMES, free_ports(len(SERVICE_NAMES)), strict=True)
        }
        self.settings = Settings(
            _env_file=None,  # type: ignore[call-arg]  # pydantic-settings' own argument
            **{**TEST_SETTINGS, "data_dir": folder, "keyring_file": self.keyring_path, **urls, **settings},
        )
        self._channels: dict[str, Channels] = {}
        self._running: dict[str, AsyncExitStack] = {}
        self._databases: dict[str, Database] = {}
        self._database_urls: dict[str, str] = {}
        self.clock = clock or MovableClock()

    def stub(self, stub_type: StubClass[Stub], caller: str = OPERATOR, at: str = "") -> Stub:
        """Return a stub with the key of `caller`: a service's key has its contract's scopes, the operator's has all.

        `at` names the service to call, for a contract that several services implement.
        """
        if caller not in self._channels:
            self._channels[caller] = Channels(self.settings, lambda: self.keys[caller])
        return self._channels[caller].stub(stub_type, at)

    def database(self, name: str) -> Database:
        """Return the database of a service."""
        return self._databases[name]

    def database_url_of(self, name: str) -> str:
        """Return the URL of the database of a service."""
        return self._database_urls[name]

    def write_keyring(self, records: list[KeyRecord]) -> None:
        """Replace the keyring file of all servers."""
        self.keyring_path.write_text(format_keyring(records))

    async def start(self, service: Service, database_url: str, **settings: Any) -> None:
        """Serve `service` in this process. Settings by field name override those of the mesh for this service."""
        own: dict[str, Any] = {
            "service_api_key": SecretStr(self.keys[service.name]),
            "database_url": SecretStr(database_url),
        }
        if self._http_service not in ("", service.name):
            own["http_address"] = None
        own_settings = self.settings.model_copy(update=own | settings)
        stack = self._running[service.name] = AsyncExitStack()
        self._database_urls[service.name] = database_url
        self._databases[service.name] = await lazy_database(database_url, self.clock)
        stack.push_async_callback(self._databases[service.name].close)
        address = self.settings.listen_address_of(service.name)
        await stack.enter_async_context(serving(service, own_settings, address, self.clock))

    async def wait_until_connected(self, name: str) -> None:
        """Wait until every caller of this test is connected to the service `name`."""
        for channels in self._channels.values():
            await channels.channel(name).channel_ready()

    async def stop(self, name: str) -> None:
        """Drain and stop a service."""
        await self._running.pop(name).aclose()

    async def close(self) -> None:
        """Close every channel and stop every service."""
        for channels in self._channels.values():
            await channels.close()
        for name in reversed(list(self._running)):
            await self.stop(name)

    def _records(self) -> list[KeyRecord]:
        return [
            record_of_key(key, caller, {*(default_scopes(caller) or ()), *self._extra_scopes.get(caller, ())})
            for caller, key in self.keys.items()
        ]


@pytest.fixture
async def serve(database_url: DatabaseFactory, tmp_path: Path) -> AsyncIterator[Serve]:
    """Start services for one test."""
    meshes: list[MeshForTests] = []

    async def start(*services: Service, **settings: Any) -> MeshForTests:
        mesh = MeshForTests(tmp_path, **settings)
        meshes.append(mesh)
        for service in services:
            await mesh.start(service, await database_url(service.name))
        return mesh

    yield start
    for mesh in meshes:
        await mesh.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def serve_module(
    postgres: PostgresForTests, databases_of_module: list[tuple[Path, str]], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Serve]:
    """Start services for all tests of a module with the mark `asyncio(loop_scope="module")`.

    Use them only for calls that leave no data behind, because nothing is deleted between the tests.
    """
    meshes: list[MeshForTests] = []

    async def start(*services: Service, **settings: Any) -> MeshForTests:
        # The tests of a module together may exceed the rate limit of one caller.
        mesh = MeshForTests(tmp_path_factory.mktemp("mesh"), **{"rate_limit_factor": 100.0, **settings})
        meshes.append(mesh)
        for service in services:
            url = await postgres.acquire(service.migrations)
            databases_of_module.append((service.migrations, url))
            await mesh.start(service, url)
        return mesh

    yield start
    for mesh in meshes:
        await mesh.close()
