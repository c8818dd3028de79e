"""Running services of the scale benchmark, with stubs and a filled database."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg
from pydantic import SecretStr

from bench.scale.journey import Journeys
from bench.scale.population import SERVICES, USER, fill, id_of
from bench.scale.reads import reads
from local.mail_sink import MailSink
from local.postgres.server import EmbeddedPostgres
from local.service_databases import database_url_of, migrate_all
from mesh.config import Settings
from services.communication import app as communication
from services.gym import app as gym
from services.payment import app as payment
from services.session import app as session
from services.subscription import app as subscription
from services.user import app as user
from tests.support.serving import MeshForTests

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path
    from uuid import UUID

    from bench.scale.population import Population
    from bench.scale.reads import Read

APPS = (user, gym, payment, communication, subscription, session)
_ADDRESS = "select email from users where user_id = $1"
_OPEN_OFFER = "select offer_id from offers where status = 'open' order by offer_id desc limit 1"
_SIZE = "select pg_database_size(current_database())"


@dataclass(frozen=True, slots=True)
class RunningMesh:
    """Calls to measure on one mesh, and the size of its databases in bytes, by service."""

    reads: Mapping[str, Read]
    journeys: Journeys
    sizes: Mapping[str, int]


@asynccontextmanager
async def filled_server(
    folder: Path, population: Population, *, durable: bool = True
) -> AsyncIterator[EmbeddedPostgres]:
    """Start PostgreSQL with the databases of all services, and fill them."""
    async with EmbeddedPostgres(folder / "postgres", durable=durable) as postgres:
        await migrate_all(Settings(_env_file=None), postgres.url)  # type: ignore[call-arg]  # pydantic-settings' own
        await fill({name: database_url_of(postgres.superuser_url, name) for name in SERVICES}, population)
        yield postgres


@asynccontextmanager
async def running_mesh(folder: Path, server_url: str, population: Population) -> AsyncIterator[RunningMesh]:
    """Start the services in this process on the databases of a filled server."""
    urls = {name: database_url_of(server_url, name) for name in SERVICES}
    async with MailSink(folder / "inbox", port=0) as sink:
        mesh = MeshForTests(folder, smtp_url=SecretStr(sink.url), log_requests=False, rate_limit_factor=1000.0)
        try:
            for each in APPS:
                await mesh.start(each.SERVICE, urls[each.SERVICE.name])
            address = str(await _value(urls["user"], _ADDRESS, id_of(USER, 2)))
            sizes = {name: int(await _value(url, _SIZE)) for name, url in urls.items()}
            journeys = Journeys(mesh.stub, _OfferFinder(urls["session"]).find)
            yield RunningMesh(await reads(mesh.stub, population, address), journeys, sizes)
        finally:
            await mesh.close()


@dataclass(frozen=True, slots=True)
class _OfferFinder:
    url: str

    async def find(self) -> UUID:
        """Return the id of the latest open offer."""
        found: UUID = await _value(self.url, _OPEN_OFFER)
        return found


async def _value(url: str, query: str, *values: object) -> Any:  # noqa: ANN401 - a value of any type
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query, *values)
    finally:
        await connection.close()
