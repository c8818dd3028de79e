"""Fixtures: the session service and every service around it, or its database alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from local.mail_sink import MailSink
from tests.services.session.booking_mesh import SERVICES, BookingMesh
from tests.services.session.stores import stores_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from mesh.data.database import Database
    from services.session.stores import Stores
    from tests.support.postgres import DatabaseFactory, DatabaseOpener
    from tests.support.serving import Serve


# Fifty concurrent calls share two database connections, so the last one needs the time of all the others.
DEADLINE_FACTOR = 60.0


@pytest.fixture
def urls() -> dict[str, str]:
    """Return the database URLs by service, so that a test can restart a service on its database."""
    return {}


@pytest.fixture
async def database_url(database_url: DatabaseFactory, urls: dict[str, str]) -> DatabaseFactory:
    """Create databases as usual, and record their URLs by service."""

    async def create(service: str) -> str:
        urls[service] = await database_url(service)
        return urls[service]

    return create


@pytest.fixture
async def booking_mesh(serve: Serve, urls: dict[str, str], tmp_path: Path) -> AsyncIterator[BookingMesh]:
    """Serve everything that a booking needs, with a mail server that stores its mails."""
    folder = tmp_path / "inbox"
    async with MailSink(folder, port=0) as mail_sink:
        mesh = await serve(*SERVICES.values(), smtp_url=SecretStr(mail_sink.url), deadline_factor=DEADLINE_FACTOR)
        yield BookingMesh(mesh, urls, folder)
        await mesh.close()


@pytest.fixture
async def database(open_database: DatabaseOpener) -> Database:
    """Connect to a session database on which no service runs."""
    return await open_database("session")


@pytest.fixture
def stores(database: Database) -> Stores:
    """Return the session stores on `database`."""
    return stores_on(database)
