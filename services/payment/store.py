"""Sessions, payments and the ledger in PostgreSQL. Every change runs in a transaction."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

import orjson

from mesh.transaction import Transaction
from services.payment.credits.store import Lots
from services.payment.disputes.store import DISPUTES_OF_PAYMENT, Disputes, dispute_of
from services.payment.domain import (
    ChargeOrder,
    Payment,
    PaymentMethod,
    PaymentState,
    PaymentStatus,
    Price,
    Refund,
    RefundStatus,
)
from services.payment.failed_refunds.store import FAILED_REFUNDS_OF_PAYMENT, FailedRefunds, failed_refund_of
from services.payment.refunds.store import REFUNDS_OF_PAYMENT, Refunds, refund_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    import asyncpg

    from mesh.data.database import Connection, Database
    from services.payment.domain import Entry

_PAYMENTS = f"""
    select p.*, {REFUNDS_OF_PAYMENT} as refunds, {DISPUTES_OF_PAYMENT} as disputes,
        {FAILED_REFUNDS_OF_PAYMENT} as failed_refunds
    from payments as p
"""  # noqa: S608 - a constant
_FIND_PAYMENT = f"{_PAYMENTS} where payment_id = $1"
_FIND_PAYMENT_OF_SESSION = f"{_PAYMENTS} where session_id = $1"
_PAYMENTS_OF_SESSION = f"""
    {_PAYMENTS}
    where session_id = $1 and ($3::uuid is null
        or (create_time, payment_id) > (select create_time, payment_id from payments where payment_id = $3))
    order by create_time, payment_id limit $2
"""  # noqa: S608 - a constant
# The idempotency key of a charge is its session id.
_FIND_SESSION_OF_INTENT = "select idempotency_key from card_intents where intent_id = $1"

_ADD_PAYMENT = """
    insert into payments
        (session_id, user_id, method, currency, minor_units, credits, status, create_time, update_time)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $8) returning *
"""
_SET_STATUS = "update payments set status = $2, update_time = $3 where payment_id = $1 returning *"
_END_PAYMENT = """
    update payments
    set status = 'refunded', refunded_in = $2, refund_reason = $3, refund_time = $4, update_time = $4
    where payment_id = $1 returning *
"""

# Missing accounts are opened in the same statement, because most transactions find all of theirs.
_ADD_TRANSACTION = """
    with opened as (
        insert into accounts (kind, currency, user_id, balance)
        select kind, currency, user_id, case kind when 'member' then 0 end
        from unnest($7::text[], $8::text[], $9::uuid[]) as line (kind, currency, user_id) order by 1, 2, 3
        on conflict do nothing
    )
    insert into transactions (kind, payment_id, reverses, reason, create_time, subscription_id, has_lots)
    values ($1, $2, $3, $4, $5, $6, true) returning transaction_id
"""
_FIND_CHARGE = "select transaction_id from transactions where payment_id = $1 and kind = 'charge'"
# No index supports `is not distinct from`, so members and the house are looked up separately.
_ADD_ENTRIES = """
    insert into entries (transaction_id, account_id, currency, amount)
    select $5, a.account_id, a.currency, line.amount
    from unnest($1::text[], $2::text[], $3::uuid[], $4::bigint[]) as line (kind, currency, user_id, amount)
    cross join lateral (
        select account_id, currency from accounts as of_member
        where of_member.kind = line.kind and of_member.user_id = line.user_id and of_member.currency = line.currency
        union all
        select account_id, currency from accounts as of_house
        where line.user_id is null
            and of_house.kind = line.kind and of_house.user_id is null and of_house.currency = line.currency
    ) as a
"""


class PaymentStore:
    """The payments and the ledger of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def transaction(self) -> AbstractAsyncContextManager[Ledger]:
        """Begin a transaction, committed at the end of the block."""
        return Ledger.begin(self._database)

    async def find_payment(self, payment_id: UUID) -> Payment | None:
        """Return the payment with this id, or None."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_FIND_PAYMENT, payment_id)
        return _payment(row) if row else None

    async def payments_of_session(self, session_id: UUID, limit: int, *, after: UUID | None) -> list[Payment]:
        """Return at most `limit` payments of a session, oldest first, after the one with id `after`."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_PAYMENTS_OF_SESSION, session_id, limit, after)
        return list(map(_payment, rows))


class Ledger(Transaction):
    """The payments and the ledger within one transaction.

    `lots` are the members' credits by expiry. `refunds`, `disputes` and `failed_refunds` are those of the payments.
    Callers lock the session first, then the member's account. The fixed order prevents deadlocks.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.lots = Lots(connection)
        self.refunds = Refunds(connection)
        self.disputes = Disputes(connection)
        self.failed_refunds = FailedRefunds(connection)

    async def lock_session(self, session_id: UUID) -> PaymentState:
        """Lock a session until the end of the transaction and return its state. An unknown session is added first."""
        await self.connection.execute(
            "insert into sessions (session_id) values ($1) on conflict do nothing", session_id
        )
        reason = await self.connection.fetchval(
            "select void_reason from sessions where session_id = $1 for update", session_id
        )
        # A separate statement, because its snapshot includes payments committed while the lock was awaited.
        row = await self.connection.fetchrow(_FIND_PAYMENT_OF_SESSION, session_id)
        return PaymentState(session_id, reason, _payment(row) if row else None)

    async def lock_session_of_intent(self, intent_id: str) -> PaymentState | None:
        """Lock and return the session that a payment intent has charged; None if the intent is not of this service."""
        session_id = await self.connection.fetchval(_FIND_SESSION_OF_INTENT, intent_id)
        return await self.lock_session(UUID(session_id)) if session_id else None

    async def void(self, session_id: UUID, reason: str, now: datetime) -> None:
        """Prevent charges of a locked session. A session already void retains its first reason."""
        await self.connection.execute(
            "update sessions set void_time = $2, void_reason = $3 where session_id = $1 and void_time is null",
            session_id,
            now,
            reason,
        )

    async def add_payment(self, order: ChargeOrder, status: PaymentStatus, now: datetime) -> Payment:
        """Add the payment of a locked session that has none."""
        price = order.price
        amounts = (price.currency, price.minor_units, price.credits)
        return _payment(
            await self._row(_ADD_PAYMENT, order.session_id, order.user_id, order.payment_method, *amounts, status, now)
        )

    async def set_status(self, payment: Payment, status: PaymentStatus, now: datetime) -> Payment:
        """Set the status of a payment of a locked session. Use `end_payment` for the status REFUNDED."""
        await self._row(_SET_STATUS, payment.payment_id, status, now)
        return replace(payment, status=status, update_time=now)

    async def end_payment(self, payment: Payment, refund: Refund, now: datetime) -> Payment:
        """Set a payment of a locked session to REFUNDED with the details of its last refund."""
        await self._row(_END_PAYMENT, payment.payment_id, refund.payment_method, refund.reason, now)
        return replace(payment, status=PaymentStatus.REFUNDED, update_time=now)

    async def charge_of(self, payment: Payment) -> UUID | None:
        """Return the id of the ledger transaction that charged a payment, or None."""
        found: UUID | None = await self.connection.fetchval(_FIND_CHARGE, payment.payment_id)
        return found

    async def post(
        self,
        kind: str,
        entries: Sequence[Entry],
        now: datetime,
        *,
        reason: str = "",
        payment_id: UUID | None = None,
        reverses: UUID | None = None,
        subscription_id: UUID | None = None,
    ) -> UUID:
        """Add one ledger transaction and return its id.

        The database rejects a transaction that does not sum to zero. A caller that changes a member's balance has
        locked the account, and changes the member's lots too.
        """
        kinds = [entry.account.kind for entry in entries]
        currencies = [entry.account.currency for entry in entries]
        users = [entry.account.user_id for entry in entries]
        accounts = (kinds, currencies, users)
        transaction_id: UUID = await self.connection.fetchval(
            _ADD_TRANSACTION, kind, payment_id, reverses, reason, now, subscription_id, *accounts
        )
        amounts = [entry.amount for entry in entries]
        await self.connection.execute(_ADD_ENTRIES, *accounts, amounts, transaction_id)
        return transaction_id

    async def _row(self, statement: str, *values: object) -> asyncpg.Record:
        row = await self.connection.fetchrow(statement, *values)
        if row is None:
            raise LookupError("the payment has no row, but payments are never deleted")
        return row


def _payment(row: asyncpg.Record) -> Payment:
    order = ChargeOrder(
        session_id=row["session_id"],
        user_id=row["user_id"],
        price=Price(row["currency"], row["minor_units"], row["credits"]),
        payment_method=PaymentMethod(row["method"]),
    )
    return Payment(
        payment_id=row["payment_id"],
        order=order,
        status=PaymentStatus(row["status"]),
        create_time=row["create_time"],
        update_time=row["update_time"],
        refunds=_refunds(row, order),
        disputes=tuple(map(dispute_of, orjson.loads(row.get("disputes") or "[]"))),
        failed_refunds=tuple(map(failed_refund_of, orjson.loads(row.get("failed_refunds") or "[]"))),
    )


def _refunds(row: asyncpg.Record, order: ChargeOrder) -> tuple[Refund, ...]:
    """Return all refunds of a payment. An earlier version adds no row when it refunds a payment as a whole."""
    refunds = tuple(map(refund_of, orjson.loads(row.get("refunds") or "[]")))
    if row["refunded_in"] is None or any(refund.status is RefundStatus.DONE for refund in refunds):
        return refunds
    method = PaymentMethod(row["refunded_in"])
    amount = order.amount if method is order.payment_method else order.price.credits
    return (*refunds, Refund(method, amount, row["refund_reason"], row["refund_time"]))
