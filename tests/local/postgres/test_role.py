from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest

from local.postgres.server import EmbeddedPostgres
from local.service_databases import database_url_of
from mesh.data.migrations import migrate
from tests.support.postgres import SERVICES, connection_to, superuser_url_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.postgres import PostgresForTests


async def test_services_are_not_superusers(postgres: PostgresForTests) -> None:
    """The services' role on the embedded server is not a superuser and may create databases."""
    async with connection_to(postgres.url) as connection:
        role = await connection.fetchrow(
            "select rolsuper, rolcreaterole, rolreplication, rolbypassrls, rolcreatedb from pg_roles"
            " where rolname = current_user"
        )

    assert role is not None
    assert tuple(role) == (False, False, False, False, True)


async def test_databases_made_by_a_superuser_are_handed_over(reachable_folder: Path) -> None:
    """The next start hands databases that a superuser made over to the services' role.

    The handover also succeeds if an earlier one was interrupted.
    """
    migrations, folder = SERVICES / "payment" / "migrations", reachable_folder / "data"
    async with EmbeddedPostgres(folder, durable=False) as server:
        await migrate(superuser_url_of(database_url_of(server.url, "payment")), migrations)
        async with connection_to(server.superuser_url) as connection:
            await connection.execute("alter database postgres owner to postgres; alter role solo60 nologin")

    async with EmbeddedPostgres(folder, durable=False) as server:
        url = database_url_of(server.url, "payment")
        assert await migrate(url, migrations) == []
        async with connection_to(url) as connection:
            await connection.execute("alter table entries add column comes_later integer")
            await connection.execute("drop view violation_sum_not_zero; drop function refuse_payment_turn cascade")


async def test_revoked_privileges_stay_revoked_after_the_handover(reachable_folder: Path) -> None:
    """Privileges that a migration revokes from its own role stay revoked for the role that takes over the tables."""
    async with EmbeddedPostgres(reachable_folder / "data", durable=False) as server:
        await migrate(superuser_url_of(database_url_of(server.url, "payment")), SERVICES / "payment" / "migrations")
        async with connection_to(server.superuser_url) as connection:
            await connection.execute("alter role solo60 nologin")

    async with (
        EmbeddedPostgres(reachable_folder / "data", durable=False) as server,
        connection_to(database_url_of(server.url, "payment")) as connection,
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("update entries set amount = 1")
