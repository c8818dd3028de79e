"""`solo60 migrate`: pending migrations of all services' databases."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cli.database_server import database_server
from cli.terminal import JsonFlag, out, print_json
from local.service_databases import migrate_all
from mesh.config import load_settings

if TYPE_CHECKING:
    from mesh.config import Settings


def migrate(*, as_json: JsonFlag = False) -> None:
    """Apply pending migrations at DATABASE_URL, else in the running mesh, else in the databases in DATA_DIR."""
    applied = asyncio.run(_migrate(load_settings()))
    if as_json:
        print_json(applied)
        return
    for name, versions in applied.items():
        out.print(f"{name}: {'applied ' + ', '.join(versions) if versions else 'up to date'}", markup=False)


async def _migrate(settings: Settings) -> dict[str, list[str]]:
    async with database_server(settings) as url:
        return await migrate_all(settings, url)
