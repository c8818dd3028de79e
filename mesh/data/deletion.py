"""Deletion of old rows in batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mesh.data.database import Database

BATCH_SIZE = 1000


async def delete_in_batches(database: Database, statement: str, *arguments: object) -> int:
    """Run a delete `statement` until it finds no more rows, and return the number of deleted rows.

    The last parameter of `statement` limits its rows and is added after `arguments`. Small batches hold no lock for
    long.
    """
    deleted = 0
    while True:
        async with database.transaction() as connection:
            status = await connection.execute(statement, *arguments, BATCH_SIZE)
        count = int(status.removeprefix("DELETE "))
        deleted += count
        if count < BATCH_SIZE:
            return deleted
