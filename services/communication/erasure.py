"""Erasure of persons: messages to a user, about a user or to an address, and the preferences of a user.

An erased message is stored like an expired one: without recipient and text, and deleted by age. A sent message has
neither anyway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.mail_address import MailAddress
from mesh.data.erasure import erase_keys, erase_user_data

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from uuid import UUID

    from mesh.data.database import Connection
    from mesh.transaction import Transaction
    from services.communication.domain import NewMessage

ERASED = "The message was erased with its user."

_LOCK_SHARED = "select pg_advisory_xact_lock_shared(hashtextextended(id::text, 0)) from unnest($1::uuid[]) as id"
_LOCK = "select pg_advisory_xact_lock(hashtextextended($1::uuid::text, 0))"
_IS_ERASED = "select exists (select from erased_users where user_id = any($1::uuid[]))"
_RECORD = "insert into erased_users (user_id, erase_time) values ($1, $2) on conflict do nothing"
_DELETE_PREFERENCES = "delete from notification_preferences where user_id = $1"
_ERASE = """
    update messages set status = 'DEAD', is_expired = true, recipients = '{}', mail = '', due_time = null,
        last_error = $2
    where message_id = any($1) and status <> 'SENT'
"""
_MESSAGES_OF_USER = "select message_id from messages where user_id = $1 or subject_user_id = $1"
# `or` of the conditions of two indexes, so that sent messages are not read.
_MESSAGES_TO = """
    select message_id from messages
    where (due_time is not null or status in ('FAILED', 'DEAD')) and exists (
        select from unnest(recipients) as recipient
        where casefold(recipient collate pg_unicode_fast) = casefold($1 collate pg_unicode_fast)
    )
"""


async def erase_if_user_is_erased(tx: Transaction, new: NewMessage) -> None:
    """Erase a message that was just stored, if it is to or about an erased user.

    The lock orders this transaction before or after the erasure of the user, which therefore misses no message.
    """
    user_ids = sorted({each for each in (new.user_id, new.subject_user_id) if each is not None})
    if not user_ids:
        return
    await tx.connection.execute(_LOCK_SHARED, user_ids)
    if await tx.connection.fetchval(_IS_ERASED, user_ids):
        await _erase(tx.connection, [new.message_id])


async def erase_user(tx: Transaction, user_id: UUID, now: datetime) -> None:
    """Record that a user is erased, and erase the user's messages, preferences, idempotency keys and outbox."""
    await tx.connection.execute(_LOCK, user_id)
    await tx.connection.execute(_RECORD, user_id, now)
    await tx.connection.execute(_DELETE_PREFERENCES, user_id)
    rows = await tx.connection.fetch(_MESSAGES_OF_USER, user_id)
    message_ids = [row["message_id"] for row in rows]
    await _erase(tx.connection, message_ids)
    await erase_user_data(tx.connection, user_id, owned_ids=message_ids)


async def erase_address(tx: Transaction, email: str) -> None:
    """Erase the unsent messages to an address, with their idempotency keys."""
    rows = await tx.connection.fetch(_MESSAGES_TO, _wire(email))
    message_ids = [row["message_id"] for row in rows]
    await _erase(tx.connection, message_ids)
    await erase_keys(tx.connection, message_ids)


async def _erase(connection: Connection, message_ids: Iterable[UUID]) -> None:
    await connection.execute(_ERASE, list(message_ids), ERASED)


def _wire(email: str) -> str:
    """Return the form in which messages store an address; return text that is no valid address unchanged."""
    try:
        return MailAddress.parse(email).wire
    except ValueError:
        return email
