"""Links in PostgreSQL from the card processor's subscriptions to ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from mesh.data.database import Connection

_FIND = "select subscription_id from processor_subscriptions where processor_id = $1"
_IS_FOREIGN = """
    select exists (select from processor_subscriptions where processor_id = $1 and subscription_id is null)
"""
_MARK_FOREIGN = """
    insert into processor_subscriptions (processor_id, create_time) values ($1, $2) on conflict do nothing
"""
_LINK = """
    insert into processor_subscriptions as link (processor_id, subscription_id, create_time) values ($1, $2, $3)
    on conflict (processor_id) do update
        set subscription_id = excluded.subscription_id, create_time = excluded.create_time
    where link.subscription_id is distinct from excluded.subscription_id
    returning true
"""


class ProcessorLinks:
    """Links to our subscriptions, read and written in one transaction. `processor_id` is the card processor's id."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def find(self, processor_id: str) -> UUID | None:
        """Return our id of a subscription at the card processor; None if it is not linked."""
        found: UUID | None = await self._connection.fetchval(_FIND, processor_id)
        return found

    async def is_foreign(self, processor_id: str) -> bool:
        """Return whether an operator marked a subscription at the card processor as not ours."""
        found: bool = await self._connection.fetchval(_IS_FOREIGN, processor_id)
        return found

    async def mark_foreign(self, processor_id: str, now: datetime) -> None:
        """Mark a subscription at the card processor as not ours, unless it is linked to one of ours."""
        await self._connection.execute(_MARK_FOREIGN, processor_id, now)

    async def link(self, processor_id: str, subscription_id: UUID, now: datetime) -> bool:
        """Link a subscription at the card processor to one of ours; return False if this link exists already."""
        return bool(await self._connection.fetchval(_LINK, processor_id, subscription_id, now))
