"""Plans of the statements behind lists, searches and bookings on tables with many rows."""

from __future__ import annotations

from typing import TYPE_CHECKING


from bench.scale.population import SERVICES, Population
from bench.scale.running import filled_server, running_mesh
from local.service_databases import database_url_of
from tests.support.plans import explain_everything, scans_in
from tests.support.postgres import connection_to

if TYPE_CHECKING:
    from pathlib import Path

    from local.postgres.server import EmbeddedPostgres
    from tests.support.plans import Scan

POPULATION = Population(users=10_000, gyms=40, slots=500)
# PostgreSQL may use a generic plan from the sixth execution on.
EXECUTIONS = 7
MANY_ROWS = 5_000
# Half of a gym's sessions belong to one member, so a list of that member's sessions may read all of them.
MOST_ROWS_READ = POPULATION.slots // 2 + 50
TABLES = "select relname from pg_class where relkind = 'r' and reltuples >= $1"


async def test_no_call_reads_more_rows_than_it_needs(reachable_folder: Path) -> None:
    """With 20,000 sessions, each statement of a call finds its rows by an index, and reads few others."""
    async with filled_server(reachable_folder, POPULATION, durable=False) as server:
        scans = await scans_of_all_calls(reachable_folder, server)
        tables = await tables_with_many_rows(server)

    assert {"sessions", "users", "entries", "messages", "waiting_list"} <= {scan.table for scan in scans}
    assert excessive(scans, tables) == []


async def scans_of_all_calls(folder: Path, server: EmbeddedPostgres) -> list[Scan]:
    """Make each call several times, and return the scans of all executed statements."""
    await explain_everything(server.superuser_url)
    async with running_mesh(folder, server.url, POPULATION) as mesh:
        for number in range(EXECUTIONS):
            for read in mesh.reads.values():
                await read()
            await mesh.journeys.make(number)
    return scans_in(server.log)


async def tables_with_many_rows(server: EmbeddedPostgres) -> set[str]:
    """Return the names of the tables with many rows in any database."""
    found: set[str] = set()
    for name in SERVICES:
        async with connection_to(database_url_of(server.url, name)) as connection:
            found |= {row["relname"] for row in await connection.fetch(TABLES, MANY_ROWS)}
    return found


def excessive(scans: list[Scan], tables: set[str]) -> list[str]:
    """Return the scans that read a whole table with many rows, or more rows than any call needs."""
    return sorted(
        {
            str(scan)
            for scan in scans
            if scan.table in tables and (scan.kind == "Seq Scan" or scan.rows_read > MOST_ROWS_READ)
        }
    )
