"""Integrity check of a service's database: broken invariants, pending migrations, superuser role; read-only.

Each view named `violation_*` lists the rows that break one invariant, so all of these views must be empty. The rows
hold ids, never personal data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg

from mesh.data.database_probe import CONNECT_TIMEOUT_S, CONNECTION_ERRORS
from mesh.data.migrations import MigrationError, pending_versions, reject_foreign_history, reject_old_server

if TYPE_CHECKING:
    from pathlib import Path

    from mesh.data.database import Connection

# Enough examples to find the fault.
EXAMPLES = 5
QUERY_TIMEOUT_S = 60.0

_VIEWS = r"select viewname from pg_views where schemaname = 'public' and viewname like 'violation\_%' order by 1"
_IS_SUPERUSER = "select rolsuper from pg_roles where rolname = current_user"


@dataclass(frozen=True, slots=True)
class BrokenInvariant:
    """Broken invariant: the number of rows in its view, and the first of them as JSON."""

    view: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IntegrityReport:
    """Findings in one database; `trouble` is a sentence if the database could not be examined."""

    broken_invariants: tuple[BrokenInvariant, ...] = ()
    pending: tuple[str, ...] = ()
    is_superuser: bool = False
    trouble: str = ""

    @property
    def is_sound(self) -> bool:
        """Whether there are no findings."""
        return not (self.broken_invariants or self.pending or self.is_superuser or self.trouble)


async def find_broken_invariants(connection: asyncpg.Connection[Any] | Connection) -> tuple[BrokenInvariant, ...]:
    """Return a BrokenInvariant for each `violation_*` view that is not empty."""
    views = [view for (view,) in await connection.fetch(_VIEWS)]
    if not views:
        return ()
    query = " union all ".join(_query_of_view(view) for view in views)
    return tuple(
        BrokenInvariant(row["view"], row["count"], tuple(row["examples"])) for row in await connection.fetch(query)
    )


def _query_of_view(view: str) -> str:
    examples = f"(array_agg(row_to_json(v)::text))[:{EXAMPLES}]"
    return f"select '{view}' as view, count(*), {examples} as examples from \"{view}\" as v having count(*) > 0"  # noqa: S608 - a name from the catalog


async def check_integrity(database_url: str, migrations: Path) -> IntegrityReport:
    """Check a database for broken invariants, pending migrations, and a superuser role."""
    try:
        connection = await asyncpg.connect(database_url, timeout=CONNECT_TIMEOUT_S, command_timeout=QUERY_TIMEOUT_S)
    except TimeoutError:
        return IntegrityReport(trouble=f"The database does not answer within {CONNECT_TIMEOUT_S:.0f} s.")
    except (*CONNECTION_ERRORS, ValueError) as error:
        return IntegrityReport(trouble=f"The database cannot be reached ({type(error).__name__}).")
    try:
        return IntegrityReport(
            await find_broken_invariants(connection),
            tuple(await pending_versions(connection, migrations)),
            bool(await connection.fetchval(_IS_SUPERUSER)),
            await _incompatibility(connection, migrations),
        )
    except MigrationError as error:
        return IntegrityReport(trouble=str(error))
    except CONNECTION_ERRORS as error:
        return IntegrityReport(trouble=f"The database cannot be examined ({type(error).__name__}).")
    finally:
        await connection.close()


async def _incompatibility(connection: asyncpg.Connection[Any], migrations: Path) -> str:
    """Return a sentence if the server is too old or other migrations created the database, else ""."""
    try:
        reject_old_server(connection)
        await reject_foreign_history(connection, migrations)
    except MigrationError as error:
        return str(error)
    return ""
