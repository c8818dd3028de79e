"""Erasure of personal data from the tables that the mesh has in every database: idempotency keys and the outbox."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from contracts.services import all_methods
from mesh.data.idempotency import fingerprint_of
from mesh.data.personal_data import may_hold_personal_data

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from google.protobuf.message import Message

    from mesh.data.database import Connection

# The key stays, so that a late repetition of its request is rejected with IDEMPOTENCY_KEY_REUSED, and has no effect. No
# request has an empty hash.
_ERASE_KEYS = """
    update idempotency_keys set request_sha256 = '', response = '', subject_ids = null where subject_ids && $1::uuid[]
"""
_ERASE_KEYS_OF_REQUEST = """
    update idempotency_keys set request_sha256 = '', response = '', subject_ids = null
    where request_type = $1 and request_sha256 = $2
"""
_DELETE_MESSAGES = """
    delete from outbox
    where destination = any($2::text[]) and position(convert_to($1, 'UTF8') in payload) > 0
        and not (status = 'pending' and destination = any($3::text[]))
"""


async def erase_user_data(
    connection: Connection, user_id: UUID, *, owned_ids: Iterable[UUID] = (), but_pending_to: Iterable[str] = ()
) -> None:
    """Erase the idempotency keys, and delete the outbox messages, with personal data of a user, in a transaction.

    A key belongs to the user if its request or response contains the user's id or one of `owned_ids`; a message, if it
    contains the user's id. Delivered and dead messages are deleted too, and so are pending ones, so that no mail to an
    erased user is sent. Messages without personal fields, such as events, stay, and so do pending messages to
    `but_pending_to`.
    """
    await erase_keys(connection, [user_id, *owned_ids])
    await connection.execute(_DELETE_MESSAGES, str(user_id), personal_destinations(), list(but_pending_to))


async def erase_keys(connection: Connection, ids: Iterable[UUID]) -> None:
    """Erase the stored responses and request hashes with personal data that contain one of `ids`, in a transaction."""
    await connection.execute(_ERASE_KEYS, list(ids))


async def erase_keys_of_request(connection: Connection, request: Message) -> None:
    """Erase the stored responses and the hashes of one request, which contains no id, in a transaction."""
    await connection.execute(_ERASE_KEYS_OF_REQUEST, request.DESCRIPTOR.full_name, fingerprint_of(request))


@cache
def personal_destinations() -> list[str]:
    """Return the methods, by full name, whose requests have personal fields."""
    return [name for name, method in all_methods().items() if may_hold_personal_data(method.request_type.DESCRIPTOR)]
