"""Examination: what is wrong with a service's database, as it says itself; nothing is changed by asking.

Each view whose name begins with `violation_` lists what breaks one invariant: all of them are empty, always. A row says
what it is about by ids, never by personal data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg

from mesh.database_probe import CONNECT_TIMEOUT_S, CONNECTION_ERRORS
from mesh.migrations import MigrationError, pending_versions, refuse_foreign_history, refuse_old_server

if TYPE_CHECKING:
    from pathlib import Path

    from mesh.database import Connection

# Enough to find the fault by.
EXAMPLES = 5
PATIENCE_S = 60.0

_VIEWS = r"select viewname from pg_views where schemaname = 'public' and viewname like 'violation\_%' order by 1"
_IS_SUPERUSER = "select rolsuper from pg_roles where rolname = current_user"


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that does not hold: how many rows its view lists, and the first of them as JSON."""

    view: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found in one database; `trouble` is a sentence where it could not be looked into."""

    violations: tuple[Violation, ...] = ()
    pending: tuple[str, ...] = ()
    is_superuser: bool = False
    trouble: str = ""

    @property
    def is_sound(self) -> bool:
        """Whether nothing was found."""
        return not (self.violations or self.pending or self.is_superuser or self.trouble)


async def find_violations(connection: asyncpg.Connection[Any] | Connection) -> tuple[Violation, ...]:
    """Return the views of broken invariants that are not empty."""
    views = [view for (view,) in await connection.fetch(_VIEWS)]
    if not views:
        return ()
    query = " union all ".join(_question(view) for view in views)
    return tuple(Violation(row["view"], row["count"], tuple(row["examples"])) for row in await connection.fetch(query))


def _question(view: str) -> str:
    examples = f"(array_agg(row_to_json(v)::text))[:{EXAMPLES}]"
    return f"select '{view}' as view, count(*), {examples} as examples from \"{view}\" as v having count(*) > 0"  # noqa: S608 - a name from the catalog


async def examine(database_url: str, migrations: Path) -> Examination:
    """Look into a database: broken invariants, migrations it lacks, and a role to which nothing can be denied."""
    try:
        connection = await asyncpg.connect(database_url, timeout=CONNECT_TIMEOUT_S, command_timeout=PATIENCE_S)
    except TimeoutError:
        return Examination(trouble=f"It does not answer within {CONNECT_TIMEOUT_S:.0f} s.")
    except (*CONNECTION_ERRORS, ValueError) as error:
        return Examination(trouble=f"It cannot be reached ({type(error).__name__}).")
    try:
        return Examination(
            await find_violations(connection),
            tuple(await pending_versions(connection, migrations)),
            bool(await connection.fetchval(_IS_SUPERUSER)),
            await _misfit(connection, migrations),
        )
    except MigrationError as error:
        return Examination(trouble=str(error))
    except CONNECTION_ERRORS as error:
        return Examination(trouble=f"It cannot be looked into ({type(error).__name__}).")
    finally:
        await connection.close()


async def _misfit(connection: asyncpg.Connection[Any], migrations: Path) -> str:
    """Return a sentence where the server is too old or the database was made by other migrations, else ""."""
    try:
        refuse_old_server(connection)
        await refuse_foreign_history(connection, migrations)
    except MigrationError as error:
        return str(error)
    return ""
