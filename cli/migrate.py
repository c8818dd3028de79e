"""`solo60 migrate`: the databases of all services, brought to what their migrations say."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from cli.screen import JsonFlag, out, print_json
from mesh.config import load_settings
from mesh.folder_lock import folder_locked, read_published
from mesh.postgres import EmbeddedPostgres
from mesh.supervisor import migrate_all

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mesh.config import Settings


def migrate(*, as_json: JsonFlag = False) -> None:
    """Apply what is missing: at DATABASE_URL, else in the running mesh, else in the one that DATA_DIR keeps."""
    applied = asyncio.run(_migrate(load_settings()))
    if as_json:
        print_json(applied)
        return
    for name, versions in applied.items():
        out.print(f"{name}: {'applied ' + ', '.join(versions) if versions else 'up to date'}", markup=False)


async def _migrate(settings: Settings) -> dict[str, list[str]]:
    async with _server(settings) as url:
        return await migrate_all(settings, url)


@asynccontextmanager
async def _server(settings: Settings) -> AsyncIterator[str]:
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    running = read_published(settings.data_dir)
    if running is not None and "database_url" in running:
        yield str(running["database_url"])
        return
    with folder_locked(settings.data_dir):
        async with EmbeddedPostgres(settings.postgres_folder) as postgres:
            yield postgres.url
