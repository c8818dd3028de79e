"""Database server of the database commands: at DATABASE_URL, else of the running mesh, else started on DATA_DIR."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from local.folder_lock import lock_folder, read_published
from local.postgres.server import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mesh.config import Settings


@asynccontextmanager
async def database_server(settings: Settings) -> AsyncIterator[str]:
    """Yield the URL of the server. If no server is configured or running, run one on DATA_DIR within the context.

    Raises FolderInUse or PostgresError if this server cannot be started.
    """
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    running = read_published(settings.data_dir)
    if running is not None and "database_url" in running:
        yield str(running["database_url"])
        return
    with lock_folder(settings.data_dir):
        async with EmbeddedPostgres(settings.postgres_folder) as postgres:
            yield postgres.url
