"""Erasure of persons from held webhooks, the only personal data that this service stores.

A held webhook about an erased person is dismissed: it takes no effect, and its payload is erased. A settled webhook has
no payload anyway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import structlog

from mesh.data.erasure import erase_user_data
from services.subscription.webhook_inbox import DISMISSED, Event, Scheme, WebhookRef

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from mesh.transaction import Transaction

# The member has paid for these credits, and the reason of the grant is a text of this service.
_GRANT = "solo60.payment.v1.PaymentService/GrantCredits"
_SUBSCRIPTION_IDS = "select subscription_id from subscriptions where user_id = $1"
_HELD_OF_USER = """
    select scheme, webhook_id from webhooks
    where event is null and (
        processor_id in (select processor_id from processor_subscriptions where subscription_id = any($2::uuid[]))
        or exists (
            select from unnest($2::uuid[] || $1::uuid) as id where position(convert_to(id::text, 'UTF8') in payload) > 0
        )
    )
    for update
"""
_HELD = "select scheme, webhook_id, payload from webhooks where event is null for update"
_DISMISS = """
    update webhooks set event = $3, payload = null, hold_reason = $4, processor_id = null
    where scheme = $1 and webhook_id = $2
"""

_log = structlog.stdlib.get_logger("solo60.subscription.erasure")


async def erase_user(tx: Transaction, user_id: UUID) -> None:
    """Dismiss the held webhooks about a user or the user's subscriptions.

    Also erases the user's idempotency keys and the outbox messages with personal data.
    """
    subscription_ids = [row["subscription_id"] for row in await tx.connection.fetch(_SUBSCRIPTION_IDS, user_id)]
    rows = await tx.connection.fetch(_HELD_OF_USER, user_id, subscription_ids)
    await _dismiss(tx, [WebhookRef(Scheme(row["scheme"]), row["webhook_id"]) for row in rows])
    await erase_user_data(tx.connection, user_id, owned_ids=subscription_ids, but_pending_to=[_GRANT])


async def erase_address(tx: Transaction, email: str) -> None:
    """Dismiss the held webhooks whose payload contains an address, ignoring case."""
    rows = await tx.connection.fetch(_HELD)
    found = [row for row in rows if contains_text(row["payload"], email)]
    await _dismiss(tx, [WebhookRef(Scheme(row["scheme"]), row["webhook_id"]) for row in found])


def contains_text(payload: bytes, text: str) -> bool:
    """Return whether a JSON payload has `text` in a string, or a payload that is no JSON has it anywhere, in any case.

    JSON may escape any character, so its bytes alone do not show its strings.
    """
    wanted = text.casefold()
    try:
        return any(wanted in each.casefold() for each in _strings_in(orjson.loads(payload)))
    except orjson.JSONDecodeError:
        return wanted in payload.decode("utf-8", errors="replace").casefold()


def _strings_in(value: object) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _strings_in(each)
    elif isinstance(value, dict):
        for name, each in value.items():
            yield name
            yield from _strings_in(each)


async def _dismiss(tx: Transaction, refs: Iterable[WebhookRef]) -> None:
    for ref in refs:
        await tx.connection.execute(_DISMISS, ref.scheme, ref.webhook_id, Event.IGNORED, DISMISSED)
        _log.warning("held webhook dismissed: its person is erased", scheme=ref.scheme, webhook_id=ref.webhook_id)
