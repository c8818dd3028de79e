"""Member with credits, on a database without a running service."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from services.payment.domain import CREDIT, ChargeOrder, PaymentMethod, Price
from services.payment.refunds.domain import PartialRefund
from tests.services.payment.cashiers import NOON, balance, cashier_of, expire, grant

if TYPE_CHECKING:
    from datetime import datetime

    import asyncpg

    from mesh.data.database import Database
    from services.payment.domain import Payment

USER = UUID("6f1c1f5e-8a50-4c57-9c6e-0a3a0c5b1d11")
LOTS = """
    select remaining, expire_time from lots join accounts using (account_id)
    where user_id = $1 and remaining > 0 order by expire_time nulls last, lot_id
"""


class Member:
    """Member with credits, and a clock that the test sets."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now = NOON

    async def grant(self, credits_granted: int, expire_time: datetime | None = None) -> int:
        """Grant credits and return the new balance."""
        return await grant(self.database, USER, credits_granted, expire_time, self.now)

    async def charge(self, credits_charged: int, method: PaymentMethod = PaymentMethod.CREDITS) -> Payment:
        """Charge a new session."""
        order = ChargeOrder(uuid4(), USER, Price("GBP", 1250, credits_charged), method)
        return await cashier_of(self.database, lambda: self.now).charge(order, "tok_visa")

    async def refund(self, payment: Payment) -> None:
        """Refund a session."""
        await cashier_of(self.database, lambda: self.now).refund(payment.order.session_id, "session cancelled")

    async def refund_part(self, payment: Payment, credits_refunded: int) -> None:
        """Refund a part of a payment in credits."""
        ids = (payment.order.session_id, uuid4())
        part = PartialRefund(*ids, PaymentMethod.CREDITS, CREDIT, credits_refunded, "broken shower")
        await cashier_of(self.database, lambda: self.now).refund_part(part)

    async def credit_back(self, payment: Payment) -> None:
        """Refund a session in credits."""
        await cashier_of(self.database, lambda: self.now).credit_back(payment.order.session_id, "gym closed")

    async def expire(self) -> None:
        """Book expired credits."""
        await expire(self.database, USER, self.now)

    async def balance(self) -> int:
        """Return the balance."""
        return await balance(self.database, USER, self.now)

    async def lots(self) -> list[tuple[int, datetime | None]]:
        """Return remaining credits and expiry of each lot."""
        return [(row[0], row[1]) for row in await self.fetch(LOTS, USER)]

    async def fetch(self, query: str, *values: object) -> list[asyncpg.Record]:
        """Return the rows of a query."""
        async with self.database.connection() as connection:
            return await connection.fetch(query, *values)
