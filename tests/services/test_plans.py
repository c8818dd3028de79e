"""Plans of the statements behind lists, searches and bookings on tables with many rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from bench.scale.population import SERVICES, Population
from bench.scale.running import filled_server, running_mesh
from local.service_databases import database_url_of
from tests.support.folders import folder_for_all
from tests.support.plans import explain_everything, scans_in
from tests.support.postgres import connection_to, execute

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from local.postgres.server import EmbeddedPostgres
    from tests.support.plans import Scan

pytestmark = pytest.mark.asyncio(loop_scope="module")

POPULATION = Population(users=10_000, gyms=20, slots=1000)
# PostgreSQL may use a generic plan from the sixth execution on.
EXECUTIONS = 7
MANY_ROWS = 5_000
# Half of a gym's sessions belong to one member, so a list of them may read all of these. A search for a
# frequent name reads at most as many members until its page is full.
MOST_ROWS_READ = POPULATION.slots // 2 + 100
TABLES = "select relname from pg_class where relkind = 'r' and reltuples >= $1"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[EmbeddedPostgres]:
    """Return a server with 20,000 sessions that logs the plan of each statement."""
    with folder_for_all() as folder:
        async with filled_server(folder, POPULATION, durable=False) as postgres:
            await explain_everything(postgres.superuser_url)
            yield postgres


async def test_no_call_reads_more_rows_than_it_needs(server: EmbeddedPostgres, tmp_path: Path) -> None:
    """With 20,000 sessions, each statement of a call finds its rows by an index, and reads few others."""
    scans = await scans_of_calls(server, tmp_path, range(EXECUTIONS))

    assert {"sessions", "users", "entries", "messages", "waiting_list"} <= {scan.table for scan in scans}
    assert await excessive(server, scans) == {}


async def test_a_missing_index_is_noticed(server: EmbeddedPostgres, tmp_path: Path) -> None:
    """Without its index, the list of a member's sessions scans the whole table, and the check reports it."""
    await execute(database_url_of(server.url, "session"), "drop index sessions_of_user")
    scans = await scans_of_calls(server, tmp_path, range(EXECUTIONS, EXECUTIONS + 1))

    assert {scan.table for scan in await excessive(server, scans)} == {"sessions"}


async def scans_of_calls(server: EmbeddedPostgres, folder: Path, numbers: range) -> list[Scan]:
    """Make each call once for each number, and return the scans of all executed statements."""
    begin = server.log.stat().st_size
    async with running_mesh(folder, server.url, POPULATION) as mesh:
        for number in numbers:
            for read in mesh.reads.values():
                await read()
            await mesh.journeys.make(number)
    return scans_in(server.log, begin)


async def excessive(server: EmbeddedPostgres, scans: list[Scan]) -> dict[Scan, str]:
    """Return the scans that read a whole table with many rows, or more rows than any call needs."""
    tables: set[str] = set()
    for name in SERVICES:
        async with connection_to(database_url_of(server.url, name)) as connection:
            tables |= {row["relname"] for row in await connection.fetch(TABLES, MANY_ROWS)}
    return {
        scan: str(scan)
        for scan in scans
        if scan.table in tables and (scan.kind == "Seq Scan" or scan.rows_read > MOST_ROWS_READ)
    }
