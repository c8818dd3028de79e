"""Processor links in PostgreSQL: which subscription of ours one at the card processor is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from mesh.database import Connection

_LINKED = "select subscription_id from processor_subscriptions where processor_id = $1"
_IS_FOREIGN = """
    select exists (select from processor_subscriptions where processor_id = $1 and subscription_id is null)
"""
_NOTE_FOREIGN = """
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
    """The links to the card processor's subscriptions within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def linked(self, processor_id: str) -> UUID | None:
        """Return our id of a subscription at the card processor; None if nobody has told it yet."""
        found: UUID | None = await self._connection.fetchval(_LINKED, processor_id)
        return found

    async def is_foreign(self, processor_id: str) -> bool:
        """Tell whether an operator has said that a subscription at the card processor is none of ours."""
        found: bool = await self._connection.fetchval(_IS_FOREIGN, processor_id)
        return found

    async def note_foreign(self, processor_id: str, now: datetime) -> None:
        """Note that a subscription at the card processor is none of ours, unless it is known to be one."""
        await self._connection.execute(_NOTE_FOREIGN, processor_id, now)

    async def link(self, processor_id: str, subscription_id: UUID, now: datetime) -> bool:
        """Note which subscription of ours one at the card processor is; False if that was known."""
        return bool(await self._connection.fetchval(_LINK, processor_id, subscription_id, now))
