"""Preflight checks of settings, before any part of a mesh starts.

`mesh.config` checks the form of each setting. The checks in this module need something else: the database server, a
folder, an installed package, or another setting.
"""

from __future__ import annotations

import asyncio
import importlib.util
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg

from contracts.services import SERVICE_NAMES
from mesh.config import SettingsError
from mesh.data.migrations import MAINTENANCE_DATABASE, MigrationError, open_database, reject_foreign_history
from mesh.serving.engine import NATIVE_MISSING_MESSAGE
from mesh.telemetry.spans import make_span_folder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mesh.config import Settings

# The extensions that migrations use.
EXTENSIONS = ("btree_gin", "btree_gist", "pg_trgm")

_MAY_CREATE_DATABASES = "select rolcreatedb or rolsuper from pg_roles where rolname = current_user"
_HAS_EXTENSION = "select exists (select from pg_available_extensions where name = $1)"


def reject_unusable_settings(settings: Settings) -> None:
    """Raise SettingsError if a well-formed setting cannot work on this machine."""
    _reject_shared_addresses(settings)
    make_span_folder(settings.local_span_dir)
    if settings.engine == "native" and importlib.util.find_spec("pygrpc_native") is None:
        raise SettingsError(NATIVE_MISSING_MESSAGE)


async def reject_unusable_databases(settings: Settings, databases: Mapping[str, tuple[str, Path]]) -> None:
    """Raise MigrationError unless each service can have its database; change nothing.

    `databases` maps the names of services to URL and migrations folder. The server must be reachable and new enough.
    Each database must have been created by the migrations of this checkout, or the role must be allowed to create it.
    """
    checks = (_check(name, url, folder) for name, (url, folder) in databases.items())
    for failure in await asyncio.gather(*checks, return_exceptions=True):
        if isinstance(failure, MigrationError):
            setting, hint = ("DATABASE_URL", "") if settings.database_url else ("DATA_DIR", " `make reset` empties it.")
            raise MigrationError(f"{setting}: {failure}{hint}")
        if failure is not None:
            raise failure


async def _check(name: str, url: str, folder: Path) -> None:
    database = urlsplit(url).path.removeprefix("/")
    try:
        connection = await open_database(url)
    except asyncpg.InvalidCatalogNameError:
        await _reject_uncreatable(name, url, database)
        return
    try:
        await reject_foreign_history(connection, folder)
    except MigrationError as error:
        raise MigrationError(f"the database {database} of {name} does not fit this checkout: {error}") from None
    finally:
        await connection.close()


async def _reject_uncreatable(name: str, url: str, database: str) -> None:
    server = await open_database(url, MAINTENANCE_DATABASE)
    try:
        if not await server.fetchval(_MAY_CREATE_DATABASES):
            raise MigrationError(
                f"the database {database} of {name} is missing, and the role may not create it: "
                "give the role CREATEDB, or create the database with the role as its owner."
            )
        for extension in EXTENSIONS:
            if not await server.fetchval(_HAS_EXTENSION, extension):
                raise MigrationError(
                    f"the server lacks the extension {extension}: install PostgreSQL's contrib package."
                )
    finally:
        await server.close()


def _reject_shared_addresses(settings: Settings) -> None:
    owners: dict[str, str] = {}
    for name in SERVICE_NAMES:
        setting, address = f"{name.upper()}_SERVICE_URL", settings.url_of(name)
        if address in owners:
            raise SettingsError(f"{setting}: {address} is also set in {owners[address]}; each service needs its own.")
        owners[address] = setting
