"""Gyms in PostgreSQL, one row per gym."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

from contracts.errors import GymNameTaken
from mesh.transaction import Transaction
from services.gym.domain import Gym, GymProperties, OpeningHours, WaitingListMode

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime
    from uuid import UUID

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
                      opens_minute, closes_minute, requires_approval, waiting_list_mode, create_time, update_time)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)
    on conflict (folded_name) do nothing returning *
"""
_LOCK = "select * from gyms where gym_id = $1 for update"
_IS_TAKEN = """
    select exists (
        select from gyms
        where folded_name = normalize(casefold(normalize($1, nfc) collate pg_unicode_fast), nfc) and gym_id <> $2
    )
"""
_SAVE = """
    update gyms set name = $2, time_zone = $3, currency_code = $4, minor_units_per_hour = $5, credits_per_hour = $6,
                    noise_policy = $7, opens_minute = $8, closes_minute = $9, requires_approval = $10,
                    waiting_list_mode = $11, update_time = $12
    where gym_id = $1
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
        row = await tx.connection.fetchrow(_ADD, *_columns(properties), now)
        if row is None:
            raise GymNameTaken
        return _gym(row)

    async def lock(self, tx: Transaction, gym_id: UUID) -> Gym | None:
        """Return the gym with this id, locked until the transaction ends, or None."""
        row = await tx.connection.fetchrow(_LOCK, gym_id)
        return _gym(row) if row else None

    async def save(self, tx: Transaction, gym: Gym) -> None:
        """Save a locked gym; raise GymNameTaken if another gym has the same name."""
        if await tx.connection.fetchval(_IS_TAKEN, gym.properties.name, gym.gym_id):
            raise GymNameTaken
        try:
            await tx.connection.execute(_SAVE, gym.gym_id, *_columns(gym.properties), gym.update_time)
        except asyncpg.UniqueViolationError:
            raise GymNameTaken from None  # a concurrent transaction took the name


def _columns(properties: GymProperties) -> tuple[object, ...]:
    return (
        properties.name,
        properties.time_zone,
        properties.currency_code,
        properties.minor_units_per_hour,
        properties.credits_per_hour,
        properties.noise_policy,
        properties.opening_hours.opens_minute,
        properties.opening_hours.closes_minute,
        properties.requires_approval,
        properties.waiting_list_mode,
    )


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
            waiting_list_mode=WaitingListMode(row["waiting_list_mode"]),
        ),
        create_time=row["create_time"],
        update_time=row["update_time"],
    )
