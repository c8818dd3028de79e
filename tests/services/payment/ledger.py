"""Looks into payment's database from outside: broken invariants, and what a card company holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mesh.database import Database

INVARIANTS = {
    "violation_balance_below_zero",
    "violation_balance_not_sum",
    "violation_refund_above_capture",
    "violation_reversal_not_mirrored",
    "violation_status_not_ledger",
    "violation_sum_not_zero",
}


async def violations(database: Database) -> dict[str, list[str]]:
    """Return what each view of broken invariants lists, without the empty ones."""
    async with database.connection() as connection:
        views = await connection.fetch("select viewname from pg_views where viewname like 'violation%' order by 1")
        found = {view[0]: await connection.fetch(f"select * from {view[0]}") for view in views}  # noqa: S608 - a name from the catalog
    assert set(found) == INVARIANTS
    return {name: [repr(row) for row in rows] for name, rows in found.items() if rows}


async def count(database: Database, table: str) -> int:
    """Count the rows of a table."""
    async with database.connection() as connection:
        return int(await connection.fetchval(f"select count(*) from {table}"))  # noqa: S608 - a test's own text


async def house_sum(database: Database, kind: str, currency: str) -> int:
    """Return what the ledger says of one of the house's accounts."""
    async with database.connection() as connection:
        return int(
            await connection.fetchval(
                "select coalesce(sum(amount), 0) from entries join accounts using (account_id)"
                " where kind = $1 and accounts.currency = $2",
                kind,
                currency,
            )
        )


async def held_by_cards(database: Database) -> int:
    """Return the minor units that the processor of test mode took and did not give back, by its own books."""
    async with database.connection() as connection:
        return int(
            await connection.fetchval(
                "select coalesce(sum(minor_units), 0) from card_charges where outcome = 'captured' and not returned"
            )
        )
