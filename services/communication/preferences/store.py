"""Notification preferences in PostgreSQL: one row for each user who has changed them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.transaction import Transaction
from services.communication.preferences.domain import Category, Preferences

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime
    from uuid import UUID

    import asyncpg

    from mesh.data.database import Database

_FIND = "select * from notification_preferences where user_id = $1"
# A row to lock, so that two first changes at the same time do not overwrite each other.
_ADD = """
    insert into notification_preferences (user_id, switched_off, update_time) values ($1, '{}', $2)
    on conflict (user_id) do nothing
"""
_LOCK = "select * from notification_preferences where user_id = $1 for update"
_SAVE = "update notification_preferences set switched_off = $2, update_time = $3 where user_id = $1"


class PreferenceStore:
    """The notification preferences of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Begin a transaction, committed at the end of the block."""
        return Transaction.begin(self._database)

    async def find(self, user_id: UUID) -> Preferences:
        """Return the preferences of a user: nothing is switched off if they have never been changed."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_FIND, user_id)
        return Preferences(user_id) if row is None else _preferences(row)

    async def lock(self, tx: Transaction, user_id: UUID, now: datetime) -> Preferences:
        """Return the preferences of a user, and make other changes of them wait for the end of the transaction."""
        await tx.connection.execute(_ADD, user_id, now)
        row = await tx.connection.fetchrow(_LOCK, user_id)
        assert row is not None  # noqa: S101 - inserted above if it was missing
        return _preferences(row)

    async def save(self, tx: Transaction, preferences: Preferences) -> None:
        """Store changed preferences."""
        await tx.connection.execute(
            _SAVE, preferences.user_id, sorted(preferences.switched_off), preferences.update_time
        )


def _preferences(row: asyncpg.Record) -> Preferences:
    return Preferences(row["user_id"], frozenset(map(Category, row["switched_off"])), row["update_time"])
