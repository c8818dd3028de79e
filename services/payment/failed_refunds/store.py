"""Failed refunds in PostgreSQL."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from services.payment.failed_refunds.domain import FailedRefund

if TYPE_CHECKING:
    from uuid import UUID

    from mesh.data.database import Connection
    from services.payment.failed_refunds.domain import FailedRefundReport

# The failed refunds of the payment `p` as JSON, oldest first.
FAILED_REFUNDS_OF_PAYMENT = """
    (select jsonb_agg(f order by f.create_time, f.processor_refund_id) from failed_refunds as f
        where f.payment_id = p.payment_id)
"""
_ADD = """
    insert into failed_refunds (processor_refund_id, payment_id, currency, minor_units, reason, create_time)
    values ($1, $2, $3, $4, $5, $6) on conflict do nothing returning processor_refund_id
"""


class FailedRefunds:
    """The failed refunds within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, report: FailedRefundReport, payment_id: UUID | None, now: datetime) -> bool:
        """Add the failed refund of a report; return False if it was added before.

        `payment_id` is None if the refunded charge is not one of this service.
        """
        values = (report.currency, report.minor_units, report.reason, now)
        return await self._connection.fetchval(_ADD, report.processor_refund_id, payment_id, *values) is not None


def failed_refund_of(row: dict[str, Any]) -> FailedRefund:
    """Return the failed refund in a row of FAILED_REFUNDS_OF_PAYMENT."""
    return FailedRefund(
        processor_refund_id=row["processor_refund_id"],
        currency=row["currency"],
        minor_units=row["minor_units"],
        reason=row["reason"],
        create_time=datetime.fromisoformat(row["create_time"]),
    )
