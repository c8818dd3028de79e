"""Failed refunds in PostgreSQL."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from services.payment.failed_refunds.domain import FailedRefund

if TYPE_CHECKING:
    from uuid import UUID

    from mesh.data.database import Connection

# The failed refunds of the payment `p` as JSON, oldest first.
FAILED_REFUNDS_OF_PAYMENT = """
    (select jsonb_agg(f order by f.create_time, f.refund_id) from failed_refunds as f
        where f.payment_id = p.payment_id)
"""
_ADD = """
    insert into failed_refunds (refund_id, payment_id, currency, minor_units, reason, create_time)
    values ($1, $2, $3, $4, $5, $6) on conflict do nothing returning refund_id
"""


class FailedRefunds:
    """The failed refunds within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, failed: FailedRefund, payment_id: UUID | None) -> bool:
        """Add a failed refund; return False if it was added before.

        `payment_id` is None if the refunded charge is not one of this service.
        """
        values = (failed.currency, failed.minor_units, failed.reason, failed.create_time)
        return await self._connection.fetchval(_ADD, failed.refund_id, payment_id, *values) is not None


def failed_refund_of(row: dict[str, Any]) -> FailedRefund:
    """Return the failed refund in a row of FAILED_REFUNDS_OF_PAYMENT."""
    return FailedRefund(
        refund_id=row["refund_id"],
        currency=row["currency"],
        minor_units=row["minor_units"],
        reason=row["reason"],
        create_time=datetime.fromisoformat(row["create_time"]),
    )
