"""Webhook inbox in PostgreSQL: stores each webhook before it is processed, and each id for at least 31 days."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from contracts.errors import Unavailable, WebhookNotFound
from mesh.data.deletion import delete_in_batches
from mesh.transaction import Transaction

if TYPE_CHECKING:
    from datetime import datetime

    from mesh.data.database import Database

# Senders redeliver for about three days, and offer manual redelivery for a month.
RETENTION = timedelta(days=31)

# This version may support an event that an older version ignored. So a redelivery of an ignored webhook is processed
# again, unless an operator dismissed it.
_STORE = """
    insert into webhooks (scheme, webhook_id, payload, receive_time) values ($1, $2, $3, $4)
    on conflict (scheme, webhook_id) do update set event = null, payload = excluded.payload
    where webhooks.event = 'ignored' and webhooks.hold_reason is distinct from 'dismissed'
"""
_LOCK = "select payload, event, processor_id from webhooks where scheme = $1 and webhook_id = $2 for update"
_EXISTS = "select exists (select from webhooks where scheme = $1 and webhook_id = $2)"
# A payload is personal data, so it is erased once the webhook is settled.
_SETTLE = """
    update webhooks set event = $3, payload = null, hold_reason = $4, processor_id = null
    where scheme = $1 and webhook_id = $2
"""
_HOLD = """
    update webhooks set hold_reason = $3, processor_id = $4 where scheme = $1 and webhook_id = $2 and event is null
"""
_FIND_UNSETTLED = """
    select scheme, webhook_id from webhooks where event is null and receive_time < $1 order by receive_time
"""
_HELD_OF = """
    select scheme, webhook_id from webhooks
    where event is null and processor_id = $1 order by receive_time
"""
_LIST_HELD = """
    select scheme, webhook_id, hold_reason, processor_id, receive_time from webhooks
    where event is null and hold_reason is not null and (scheme, webhook_id) > ($2, $3)
    order by scheme, webhook_id limit $1
"""
_COUNT_HELD = """
    select hold_reason, count(*) from webhooks where event is null and hold_reason is not null group by hold_reason
"""
_DELETE_OLD = """
    delete from webhooks where (scheme, webhook_id) in (
        select scheme, webhook_id from webhooks where event is not null and receive_time < $1
        order by receive_time limit $2 for update skip locked
    )
"""


class Scheme(StrEnum):
    """Signature scheme of a webhook."""

    STANDARD = "standard"
    PROCESSOR = "processor"


class Event(StrEnum):
    """Event type of a webhook. The names match the contract's WebhookEvent."""

    PAYMENT_FAILED = "payment_failed"
    TRIAL_ENDING = "trial_ending"
    RENEWED = "renewed"
    IGNORED = "ignored"
    ENDED = "ended"
    # Never stored, because such a webhook is held and has no event yet.
    UNATTRIBUTED = "unattributed"


class HoldReason(StrEnum):
    """Reason for holding a stored webhook. The names match the contract's WebhookHoldReason."""

    UNATTRIBUTED = "unattributed"
    UNKNOWN_SUBSCRIPTION = "unknown_subscription"
    UNREADABLE = "unreadable"


# Hold reason of a settled webhook that an operator dismissed.
DISMISSED = "dismissed"


@dataclass(frozen=True, slots=True, order=True)
class WebhookRef:
    """Identity of a webhook, the same in every delivery."""

    scheme: Scheme
    webhook_id: str


@dataclass(frozen=True, slots=True)
class StoredWebhook:
    """Stored webhook. `event` is set once it is settled, `payload` until then, and `processor_id` while it is held."""

    payload: bytes | None
    event: Event | None
    processor_id: str


@dataclass(frozen=True, slots=True)
class HeldWebhook:
    """Stored webhook that waits for its subscription or for an operator."""

    ref: WebhookRef
    reason: HoldReason
    processor_id: str
    receive_time: datetime


class WebhookInbox:
    """The webhooks of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def store(self, ref: WebhookRef, payload: bytes, now: datetime) -> None:
        """Store and commit a webhook. An earlier delivery is replaced only if it was ignored and not dismissed."""
        async with Transaction.begin(self._database) as tx:
            await tx.connection.execute(_STORE, ref.scheme, ref.webhook_id, payload, now)

    async def lock(self, tx: Transaction, ref: WebhookRef) -> StoredWebhook:
        """Return a stored webhook, locked until the transaction ends; raise Unavailable if it was deleted."""
        row = await tx.connection.fetchrow(_LOCK, ref.scheme, ref.webhook_id)
        if row is None:  # deleted after it was stored: the next delivery stores it again
            raise Unavailable
        return StoredWebhook(row["payload"], Event(row["event"]) if row["event"] else None, row["processor_id"] or "")

    async def require_stored(self, ref: WebhookRef) -> None:
        """Raise WebhookNotFound unless the webhook is stored."""
        async with self._database.connection() as connection:
            if not await connection.fetchval(_EXISTS, ref.scheme, ref.webhook_id):
                raise WebhookNotFound

    async def settle(self, tx: Transaction, ref: WebhookRef, event: Event, *, dismissed: bool = False) -> None:
        """Record that a locked webhook was processed, or dismissed by an operator."""
        await tx.connection.execute(_SETTLE, ref.scheme, ref.webhook_id, event, DISMISSED if dismissed else None)

    async def hold(self, ref: WebhookRef, reason: HoldReason, processor_id: str = "") -> None:
        """Record the reason for holding a webhook, unless it was settled meanwhile."""
        async with Transaction.begin(self._database) as tx:
            await tx.connection.execute(_HOLD, ref.scheme, ref.webhook_id, reason, processor_id or None)

    async def find_unsettled(self, received_before: datetime) -> list[WebhookRef]:
        """Return the unsettled webhooks received before a time, oldest first."""
        return await self._refs(_FIND_UNSETTLED, received_before)

    async def held_of(self, processor_id: str) -> list[WebhookRef]:
        """Return the webhooks held for a subscription at the card processor, oldest first."""
        return await self._refs(_HELD_OF, processor_id)

    async def list_held(self, limit: int, *, after: tuple[Scheme, str] | None) -> list[HeldWebhook]:
        """Return at most `limit` held webhooks, from the beginning or after the scheme and id of a webhook."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_LIST_HELD, limit, *(after or ("", "")))
        return [
            HeldWebhook(
                WebhookRef(Scheme(row["scheme"]), row["webhook_id"]),
                HoldReason(row["hold_reason"]),
                row["processor_id"] or "",
                row["receive_time"],
            )
            for row in rows
        ]

    async def count_held(self) -> dict[HoldReason, int]:
        """Return the number of held webhooks by reason."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_COUNT_HELD)
        return {HoldReason(reason): count for reason, count in rows}

    async def delete_old(self, now: datetime) -> int:
        """Delete settled webhooks received more than 31 days ago, and return their number."""
        return await delete_in_batches(self._database, _DELETE_OLD, now - RETENTION)

    async def _refs(self, query: str, argument: object) -> list[WebhookRef]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(query, argument)
        return [WebhookRef(Scheme(row["scheme"]), row["webhook_id"]) for row in rows]
