"""The webhook inbox in PostgreSQL: what came is kept before it is acted upon, and known by its id for 30 days."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from contracts.errors import Unavailable
from mesh.upkeep import delete_in_batches

if TYPE_CHECKING:
    from datetime import datetime

    from mesh.database import Connection, Database

# Senders repeat for three days or so, and let people repeat by hand for a month (T-i8).
KEPT_FOR = timedelta(days=31)

_KEEP = """
    insert into webhooks (scheme, webhook_id, payload, receive_time) values ($1, $2, $3, $4) on conflict do nothing
"""
_LOCK = "select payload, event from webhooks where scheme = $1 and webhook_id = $2 for update"
# Its payload is personal: what was acted upon is known by its id alone.
_SETTLE = "update webhooks set event = $3, payload = null where scheme = $1 and webhook_id = $2"
_LEFT_OVER = """
    select scheme, webhook_id from webhooks where event is null and receive_time < $1 order by receive_time
"""
_PRUNE = """
    delete from webhooks where (scheme, webhook_id) in (
        select scheme, webhook_id from webhooks where receive_time < $1 order by receive_time limit $2
        for update skip locked
    )
"""


class Scheme(StrEnum):
    """By which scheme a webhook is signed."""

    STANDARD = "standard"
    PROCESSOR = "processor"


class Event(StrEnum):
    """What a webhook reports; the names are those of the contract's WebhookEvent."""

    PAYMENT_FAILED = "payment_failed"
    TRIAL_ENDING = "trial_ending"
    RENEWED = "renewed"
    IGNORED = "ignored"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class WebhookRef:
    """What tells a webhook from all others: the same in every delivery."""

    scheme: Scheme
    webhook_id: str


@dataclass(frozen=True, slots=True)
class KeptWebhook:
    """A webhook as it lies in the inbox: `event` once it was acted upon, `payload` until then."""

    payload: bytes | None
    event: Event | None


class WebhookInbox:
    """The webhooks of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, ref: WebhookRef, payload: bytes, now: datetime) -> None:
        """Store a webhook for good, unless it came before: then the first one stays."""
        async with self._database.transaction() as connection:
            await connection.execute(_KEEP, ref.scheme, ref.webhook_id, payload, now)

    async def lock(self, connection: Connection, ref: WebhookRef) -> KeptWebhook:
        """Return a stored webhook, and keep everyone else from acting upon it until the caller's transaction ends."""
        row = await connection.fetchrow(_LOCK, ref.scheme, ref.webhook_id)
        if row is None:  # pruned since it was stored, for its age: the next delivery is a first one
            raise Unavailable
        return KeptWebhook(row["payload"], Event(row["event"]) if row["event"] else None)

    async def settle(self, connection: Connection, ref: WebhookRef, event: Event) -> None:
        """Note that a locked webhook was acted upon."""
        await connection.execute(_SETTLE, ref.scheme, ref.webhook_id, event)

    async def left_over(self, received_before: datetime) -> list[WebhookRef]:
        """Return webhooks that could not be acted upon, the oldest first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_LEFT_OVER, received_before)
        return [WebhookRef(Scheme(row["scheme"]), row["webhook_id"]) for row in rows]

    async def prune(self, now: datetime) -> int:
        """Delete what came more than 31 days ago, acted upon or not, and return how much that was."""
        return await delete_in_batches(self._database, _PRUNE, now - KEPT_FOR)
