"""Payment intents of charges in PostgreSQL: the one intent per idempotency key that may take money."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from mesh.data.database import Database

_FIND = "select intent_id from card_intents where idempotency_key = $1"
_CLAIM = """
    insert into card_intents (idempotency_key, intent_id, create_time) values ($1, $2, $3) on conflict do nothing
"""


@dataclass(frozen=True, slots=True)
class StoredIntent:
    """Payment intent of a key. `intent_id` is None if the charge was called off before it had an intent."""

    intent_id: str | None


class IntentStore:
    """The payment intents of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, key: str) -> StoredIntent | None:
        """Return the stored intent of a key, or None if the key has none yet."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_FIND, key)
        return StoredIntent(row["intent_id"]) if row else None

    async def claim(self, key: str, intent_id: str | None, now: datetime) -> StoredIntent:
        """Store the intent of a key, or with None that its charge is called off; return the first one stored."""
        async with self._database.connection() as connection:
            await connection.execute(_CLAIM, key, intent_id, now)
            return StoredIntent(await connection.fetchval(_FIND, key))
