"""Ids of users and subscriptions at the card processor, in PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from mesh.data.database import Database

_FIND = "select customer_id from processor_customers where user_id = $1"
# Of two concurrent requests, the second uses the customer of the first.
_ADD = """
    insert into processor_customers (user_id, customer_id, create_time) values ($1, $2, $3)
    on conflict (user_id) do update set user_id = excluded.user_id returning customer_id
"""
_PROCESSOR_ID_OF = """
    select processor_id from processor_subscriptions where subscription_id = $1 order by create_time desc limit 1
"""


class Customers:
    """The card processor's ids in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, user_id: UUID) -> str | None:
        """Return the id of a user at the processor, or None."""
        return await self._fetch(_FIND, user_id)

    async def add(self, user_id: UUID, customer_id: str, now: datetime) -> str:
        """Store the id of a user at the processor, unless the user has one, and return the stored id."""
        stored = await self._fetch(_ADD, user_id, customer_id, now)
        return stored or customer_id

    async def processor_id_of(self, subscription_id: UUID) -> str | None:
        """Return the id of a subscription at the processor, or None."""
        return await self._fetch(_PROCESSOR_ID_OF, subscription_id)

    async def _fetch(self, query: str, *values: object) -> str | None:
        async with self._database.connection() as connection:
            found: str | None = await connection.fetchval(query, *values)
        return found
