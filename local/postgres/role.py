"""Database role of the services on the embedded PostgreSQL.

The role owns the databases but lacks the privileges that its migrations revoked. A superuser has every permission, so
nothing can be denied to one. See docs/adr/0012-services-are-not-superusers.md.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

from local.postgres.installation import PostgresError
from mesh.data.database_probe import CONNECTION_ERRORS, reason_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SERVICE_ROLE = "solo60"
SUPERUSER = "postgres"

_IS_READY = "select rolcanlogin from pg_roles where rolname = $1"
_CREATE = f"create role {SERVICE_ROLE} createdb"
# The last step, so that the next start repeats an interrupted setup.
_FINISH = f"alter role {SERVICE_ROLE} login"
_DATABASES = "select datname from pg_database where not datistemplate"
# Transfers objects that an earlier version created as superuser. The owner of extension objects does not change.
_CHANGE_OWNER = f"""
    do $$ declare statement text; begin
        for statement in
            select format('alter database %I owner to {SERVICE_ROLE}', current_database())
            union all
            select format('alter table %s owner to {SERVICE_ROLE}', oid::regclass) from pg_class
            where relnamespace = 'public'::regnamespace and relkind in ('r', 'v')
            union all
            select format('alter function %s owner to {SERVICE_ROLE}', oid::regprocedure) from pg_proc
            where pronamespace = 'public'::regnamespace and not exists (
                select from pg_depend where classid = 'pg_proc'::regclass and objid = pg_proc.oid and deptype = 'e'
            )
        loop
            execute statement;
        end loop;
    end $$
"""  # noqa: S608 - a constant


async def ensure_service_role(superuser_url: str) -> None:
    """Create the role if the server lacks it, and make the role the owner of all existing databases and their tables.

    Raises PostgresError if the server rejects the superuser or dies meanwhile.
    """
    try:
        await _ensure(superuser_url)
    except CONNECTION_ERRORS as error:
        raise PostgresError(f"PostgreSQL cannot be reached ({reason_of(error)})") from error


async def _ensure(superuser_url: str) -> None:
    async with _connected(superuser_url) as connection:
        is_ready = await connection.fetchval(_IS_READY, SERVICE_ROLE)
        if is_ready:
            return
        if is_ready is None:
            await connection.execute(_CREATE)
        for (name,) in await connection.fetch(_DATABASES):
            async with _connected(superuser_url, name) as inside:
                await inside.execute(_CHANGE_OWNER)
        await connection.execute(_FINISH)


@asynccontextmanager
async def _connected(url: str, database: str | None = None) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(url, database=database)
    try:
        yield connection
    finally:
        await connection.close()
