"""Queries on payment's database: broken invariants, row counts and sums."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.data.integrity import find_broken_invariants

if TYPE_CHECKING:
    from mesh.data.database import Database


async def violations(database: Database) -> set[str]:
    """Return the names of the invariant views that are not empty."""
    async with database.connection() as connection:
        return {violation.view for violation in await find_broken_invariants(connection)}


async def count(database: Database, table: str) -> int:
    """Count the rows of a table."""
    async with database.connection() as connection:
        return int(await connection.fetchval(f"select count(*) from {table}"))  # noqa: S608 - a test's own text


async def company_account_sum(database: Database, kind: str, currency: str) -> int:
    """Return the ledger's sum of one of the company's accounts."""
    async with database.connection() as connection:
        return int(
            await connection.fetchval(
                "select coalesce(sum(amount), 0) from entries join accounts using (account_id)"
                " where kind = $1 and accounts.currency = $2",
                kind,
                currency,
            )
        )


async def net_card_charges(database: Database) -> int:
    """Return the minor units that the test-mode processor has captured and not returned, by its own table."""
    async with database.connection() as connection:
        return int(
            await connection.fetchval(
                "select coalesce(sum(minor_units - (select coalesce(sum(minor_units), 0) from card_refunds as r"
                " where r.idempotency_key = card_charges.idempotency_key)), 0)"
                " from card_charges where outcome = 'captured' and not returned"
            )
        )


async def someone_waits_for_a_lock(database: Database) -> bool:
    """Return whether any session of the server waits for a lock."""
    async with database.connection() as connection:
        return bool(await connection.fetchval("select exists (select from pg_locks where not granted)"))
