"""Erasure of the free texts about a user: reasons of grants, refunds and voided sessions. Amounts and ids stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.data.erasure import erase_user_data

if TYPE_CHECKING:
    from uuid import UUID

    from mesh.transaction import Transaction

_ERASE_TRANSACTIONS = """
    update transactions set reason = ''
    where reason <> '' and (
        payment_id in (select payment_id from payments where user_id = $1)
        or transaction_id in (
            select transaction_id from entries join accounts using (account_id)
            where accounts.kind = 'member' and accounts.user_id = $1
        )
    )
"""
_ERASE_PAYMENTS = "update payments set refund_reason = '' where user_id = $1 and refund_reason <> ''"
_ERASE_REFUNDS = """
    update refunds set reason = ''
    where reason <> '' and payment_id in (select payment_id from payments where user_id = $1)
"""
_ERASE_SESSIONS = """
    update sessions set void_reason = ''
    where void_reason <> '' and session_id in (select session_id from payments where user_id = $1)
"""


async def erase_user(tx: Transaction, user_id: UUID) -> None:
    """Erase the free texts about a user, the idempotency keys and the outbox messages with personal data."""
    for statement in (_ERASE_SESSIONS, _ERASE_REFUNDS, _ERASE_PAYMENTS, _ERASE_TRANSACTIONS):
        await tx.connection.execute(statement, user_id)
    await erase_user_data(tx.connection, user_id)
