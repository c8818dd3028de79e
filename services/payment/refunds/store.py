"""Refunds in PostgreSQL."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from services.payment.domain import PaymentMethod, Refund, RefundStatus

if TYPE_CHECKING:
    from mesh.data.database import Connection
    from services.payment.domain import Payment

# The refunds of the payment `p` as JSON, in the order in which they began.
REFUNDS_OF_PAYMENT = """
    (select jsonb_agg(r order by r.create_time, r.refund_id) from refunds as r where r.payment_id = p.payment_id)
"""
_ADD = """
    insert into refunds (refund_id, payment_id, method, amount, reason, status, create_time)
    values (coalesce($1, uuidv7()), $2, $3, $4, $5, $6, $7) on conflict do nothing returning refund_id
"""
_SETTLE = "update refunds set status = $2 where refund_id = $1"


class Refunds:
    """The refunds within one transaction. Callers lock the session of a payment before they read or change any."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, payment: Payment, refund: Refund) -> bool:
        """Add a refund; return False if its id belongs to another refund."""
        values = (refund.payment_method, refund.amount, refund.reason, refund.status, refund.create_time)
        return await self._connection.fetchval(_ADD, refund.refund_id, payment.payment_id, *values) is not None

    async def settle(self, refund: Refund, status: RefundStatus) -> None:
        """Set the final status of a pending refund."""
        await self._connection.execute(_SETTLE, refund.refund_id, status)


def refund_of(row: dict[str, Any]) -> Refund:
    """Return the refund in a row of REFUNDS_OF_PAYMENT."""
    return Refund(
        payment_method=PaymentMethod(row["method"]),
        amount=row["amount"],
        reason=row["reason"],
        create_time=datetime.fromisoformat(row["create_time"]),
        status=RefundStatus(row["status"]),
        refund_id=UUID(row["refund_id"]),
    )
