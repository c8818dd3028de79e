"""Databases of the services: one per service on a server, with the migrations in the service's folder."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from contracts.services import SERVICE_NAMES, our_services, problems_of_services
from local.parts import MeshError
from local.preflight import reject_unusable_databases
from mesh.data.integrity import IntegrityReport, check_integrity
from mesh.data.migrations import MigrationError, migrate, open_database

if TYPE_CHECKING:
    from mesh.config import Settings

SERVICES_FOLDER = Path(__file__).parents[1] / "services"


def database_url_of(server_url: str, name: str) -> str:
    """Return the URL of a service's own database on a server."""
    return urlunsplit(urlsplit(server_url)._replace(path=f"/solo60_{name}"))


async def migrate_all(settings: Settings, server_url: str) -> dict[str, list[str]]:
    """Apply the migrations of all services to their databases on a server; return the versions applied to each.

    Raises MeshError or MigrationError before anything is applied if a service cannot run, or if one of the databases
    does not fit this checkout.
    """
    reject_unusable_services()
    await check_databases(settings, server_url)
    applied = await asyncio.gather(*(migrate_service(settings, server_url, name) for name in SERVICE_NAMES))
    return dict(zip(SERVICE_NAMES, applied, strict=True))


def reject_unusable_services() -> None:
    """Raise MeshError if the generated code has a service without a usable port, name or folder."""
    for problem in problems_of_services(our_services()):
        raise MeshError(f"{problem} Change the contract, then run `make gen`.")
    for name in SERVICE_NAMES:
        if not (SERVICES_FOLDER / name).is_dir():
            raise MeshError(
                f"{name} has a contract, but no folder services/{name}. "
                "Add the folder, or delete the contract and run `make gen`."
            )


async def migrate_service(settings: Settings, server_url: str, name: str) -> list[str]:
    """Apply one service's migrations to its database; return the applied versions, or raise MigrationError."""
    try:
        return await migrate(database_url_of(server_url, name), _migrations_of(name))
    except MigrationError as error:
        if settings.database_url is None:
            raise
        raise MigrationError(f"DATABASE_URL: {error}") from None


async def create_databases(server_url: str) -> None:
    """Create the missing databases of all services on a server of this mesh alone.

    A copy of the template's files takes a tenth of the time of the default, which writes a log record for each page.
    It needs a checkpoint, which would slow down a server with other users. Raises MigrationError if the server cannot
    be reached.
    """
    connection = await open_database(server_url)
    try:
        existing = {name for (name,) in await connection.fetch("select datname from pg_database")}
        for name in SERVICE_NAMES:
            database = urlsplit(database_url_of(server_url, name)).path.removeprefix("/")
            if database not in existing:
                await connection.execute(f'create database "{database}" strategy file_copy')
    finally:
        await connection.close()


async def check_databases(settings: Settings, server_url: str) -> None:
    """Raise MigrationError if a service cannot have its database on a server; change nothing."""
    databases = {name: (database_url_of(server_url, name), _migrations_of(name)) for name in SERVICE_NAMES}
    await reject_unusable_databases(settings, databases)


async def check_integrity_of_all(server_url: str) -> dict[str, IntegrityReport]:
    """Check the databases of all services on a server; change nothing."""
    found = (check_integrity(database_url_of(server_url, name), _migrations_of(name)) for name in SERVICE_NAMES)
    return dict(zip(SERVICE_NAMES, await asyncio.gather(*found), strict=True))


def _migrations_of(name: str) -> Path:
    return SERVICES_FOLDER / name / "migrations"
