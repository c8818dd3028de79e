"""Gyms in PostgreSQL, one row per gym."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.errors import GymNameTaken
from mesh.transaction import Transaction
from services.gym.domain import Gym, GymProperties, OpeningHours

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime
    from uuid import UUID

    import asyncpg

    from mesh.data.database import Database

_FIND = "select * from gyms where gym_id = $1"
_FIRST = "select * from gyms order by folded_name limit $1"
_NEXT = """
    select * from gyms
    where folded_name > (select folded_name from gyms where gym_id = $2)
    order by folded_name limit $1
"""
# `do nothing` instead of an error, because PostgreSQL would log the name with the unique violation.
_ADD = """
    insert into gyms (name, time_zone, currency_code, minor_units_per_hour, credits_per_hour, noise_policy,
                      opens_minute, closes_minute, requires_approval, create_time, update_time)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)
    on conflict (folded_name) do nothing returning *
"""


class GymStore:
    """The gyms of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Begin a transaction, committed at the end of the block."""
        return Transaction.begin(self._database)

    async def find(self, gym_id: UUID) -> Gym | None:
        """Return the gym with this id, or None."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_FIND, gym_id)
        return _gym(row) if row else None

    async def list_by_name(self, limit: int, *, after: UUID | None) -> list[Gym]:
        """Return at most `limit` gyms, ordered by name, after the one with id `after`."""
        async with self._database.connection() as connection:
            if after is None:
                rows = await connection.fetch(_FIRST, limit)
            else:
                rows = await connection.fetch(_NEXT, limit, after)
        return [_gym(row) for row in rows]

    async def add(self, tx: Transaction, properties: GymProperties, now: datetime) -> Gym:
        """Add a gym and return it; raise GymNameTaken if another gym has the same name."""
        row = await tx.connection.fetchrow(
            _ADD,
            properties.name,
            properties.time_zone,
            properties.currency_code,
            properties.minor_units_per_hour,
            properties.credits_per_hour,
            properties.noise_policy,
            properties.opening_hours.opens_minute,
            properties.opening_hours.closes_minute,
            properties.requires_approval,
            now,
        )
        if row is None:
            raise GymNameTaken
        return _gym(row)


def _gym(row: asyncpg.Record) -> Gym:
    return Gym(
        gym_id=row["gym_id"],
        properties=GymProperties(
            name=row["name"],
            time_zone=row["time_zone"],
            currency_code=row["currency_code"],
            minor_units_per_hour=row["minor_units_per_hour"],
            credits_per_hour=row["credits_per_hour"],
            noise_policy=row["noise_policy"],
            opening_hours=OpeningHours(row["opens_minute"], row["closes_minute"]),
            requires_approval=row["requires_approval"],
        ),
        create_time=row["create_time"],
        update_time=row["update_time"],
    )
