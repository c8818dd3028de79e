from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest

from mesh.migrations import migrate
from mesh.postgres import EmbeddedPostgres
from mesh.service_databases import database_url_of
from tests.support.postgres import SERVICES, connection_to, superuser_url_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.postgres import PostgresForTests


async def test_services_are_no_superusers(postgres: PostgresForTests) -> None:
    """Nothing can be denied to a superuser, so the embedded server's services are none."""
    async with connection_to(postgres.url) as connection:
        role = await connection.fetchrow(
            "select rolsuper, rolcreaterole, rolreplication, rolbypassrls, rolcreatedb from pg_roles"
            " where rolname = current_user"
        )

    assert role is not None
    assert tuple(role) == (False, False, False, False, True)


async def test_databases_that_an_earlier_version_made_as_superuser_are_handed_over(reachable_folder: Path) -> None:
    """A kept database outlives the change: its tables become the services', also if the first start was cut short."""
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


async def test_a_superusers_permissions_are_taken_from_the_owner_who_follows(reachable_folder: Path) -> None:
    """What the migrations take from the one who runs them, the services that take over the tables lack too."""
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
