"""A town around the session service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from mesh.inbox import Inbox
from tests.services.session.town import SERVICES, Town

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.postgres import DatabaseFactory
    from tests.support.serving import Serve


# Of fifty calls at once that share two connections to a database, the last waits for all others.
DEADLINE_FACTOR = 60.0


@pytest.fixture
def urls() -> dict[str, str]:
    """Hold the address of each service's database, to start the service again on it."""
    return {}


@pytest.fixture
async def database_url(database_url: DatabaseFactory, urls: dict[str, str]) -> DatabaseFactory:
    """Make databases as everywhere, and remember whose they are."""

    async def create(service: str) -> str:
        urls[service] = await database_url(service)
        return urls[service]

    return create


@pytest.fixture
async def town(serve: Serve, urls: dict[str, str], tmp_path: Path) -> AsyncIterator[Town]:
    """Serve everything that a booking needs, with a mail server that keeps what it gets."""
    folder = tmp_path / "inbox"
    async with Inbox(folder, port=0) as inbox:
        mesh = await serve(*SERVICES.values(), smtp_url=SecretStr(inbox.url), deadline_factor=DEADLINE_FACTOR)
        yield Town(mesh, urls, folder)
        await mesh.close()
