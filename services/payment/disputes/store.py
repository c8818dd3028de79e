"""Disputes in PostgreSQL."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from services.payment.disputes.domain import Dispute, DisputeStatus

if TYPE_CHECKING:
    from uuid import UUID

    from mesh.data.database import Connection
    from services.payment.disputes.domain import DisputeReport

# The disputes of the payment `p` as JSON, oldest first.
DISPUTES_OF_PAYMENT = """
    (select jsonb_agg(d order by d.create_time, d.dispute_id) from disputes as d where d.payment_id = p.payment_id)
"""
_ADD = """
    insert into disputes (dispute_id, payment_id, currency, minor_units, reason, status, create_time, update_time)
    values ($1, $2, $3, $4, $5, 'new', $6, $6) on conflict do nothing
"""
_LOCK = "select status, minor_units from disputes where dispute_id = $1 for update"
_SET_STATUS = "update disputes set status = $2, update_time = $3 where dispute_id = $1"


class Disputes:
    """The disputes within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def lock(self, report: DisputeReport, payment_id: UUID | None, now: datetime) -> tuple[DisputeStatus, int]:
        """Add the dispute of a report if it is new, lock it, and return its status and amount in minor units."""
        amount = (report.currency, report.minor_units, report.reason)
        await self._connection.execute(_ADD, report.dispute_id, payment_id, *amount, now)
        row = await self._connection.fetchrow(_LOCK, report.dispute_id)
        if row is None:
            raise LookupError("the dispute has no row, but disputes are never deleted")
        return DisputeStatus(row["status"]), row["minor_units"]

    async def set_status(self, dispute_id: str, status: DisputeStatus, now: datetime) -> None:
        """Set the status of a locked dispute."""
        await self._connection.execute(_SET_STATUS, dispute_id, status, now)


def dispute_of(row: dict[str, Any]) -> Dispute:
    """Return the dispute in a row of DISPUTES_OF_PAYMENT."""
    return Dispute(
        dispute_id=row["dispute_id"],
        currency=row["currency"],
        minor_units=row["minor_units"],
        reason=row["reason"],
        status=DisputeStatus(row["status"]),
        create_time=datetime.fromisoformat(row["create_time"]),
        update_time=datetime.fromisoformat(row["update_time"]),
    )
