"""Lots of credits and the changes of balances in PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.payment.credits.domain import Balance, CreditEntry, CreditEntryKind, Lot, balance_of

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    import asyncpg

    from mesh.data.database import Connection, Database
    from services.payment.credits.domain import LotChanges

_ACCOUNT = "select account_id from accounts where kind = 'member' and user_id = $1"
_LOCK_ACCOUNT = f"{_ACCOUNT} for update"
_OPEN_ACCOUNT = """
    insert into accounts (kind, currency, user_id, balance) values ('member', 'CREDIT', $1, 0) on conflict do nothing
"""
# The order in which charges take credits: first the lot that expires first, and of equal ones the older.
_LOTS = f"""
    select lot_id, remaining as credits, expire_time from lots
    where account_id = ({_ACCOUNT}) and remaining > 0 order by expire_time nulls last, lot_id
"""  # noqa: S608 - a constant
_NEXT_EXPIRE_TIME = f"select min(expire_time) from lots where account_id = ({_ACCOUNT}) and remaining > 0"  # noqa: S608 - a constant
_CHANGE_LOTS = """
    insert into lot_entries (transaction_id, lot_id, amount)
    select $1, lot_id, amount from unnest($2::bigint[], $3::bigint[]) as line (lot_id, amount)
"""
_ADD_LOTS = f"""
    insert into lots (account_id, granted, remaining, expire_time, replaces, transaction_id)
    select ({_ACCOUNT}), credits, credits, expire_time, replaces, $2
    from unnest($3::bigint[], $4::timestamptz[], $5::bigint[]) as line (credits, expire_time, replaces)
"""  # noqa: S608 - a constant
# One select for each partial index of `transactions`.
_TAKEN_BY = """
    with own as (
        select transaction_id from transactions where payment_id = $1 and kind = 'charge'
        union all
        select transaction_id from transactions where payment_id = $1 and kind in ('refund', 'credit_back')
        union all
        select transaction_id from transactions where payment_id = $1 and kind = 'partial_refund'
    ), moved as (
        select lot_id, amount from lot_entries join own using (transaction_id)
        union all
        select replaces, granted from lots join own using (transaction_id) where replaces is not null
    )
    select lot_id, -sum(amount)::bigint as credits, expire_time from moved join lots using (lot_id)
    group by lot_id, expire_time having sum(amount) < 0 order by expire_time nulls last, lot_id
"""
# The balance after an entry is a sum over all earlier ones. Ids of entries ascend, because an account is locked while
# an entry is written.
_ENTRIES = f"""
    with history as (
        select transaction_id, amount, sum(amount) over (order by transaction_id)::bigint as balance_after
        from entries where account_id = ({_ACCOUNT})
    ), page as (
        select * from history where $3::uuid is null or transaction_id < $3 order by transaction_id desc limit $2
    )
    select transaction_id, t.kind, page.amount, balance_after, t.create_time, session_id, subscription_id, t.reason, (
            select min(expire_time) from (
                select expire_time from lots where lots.transaction_id = page.transaction_id
                union all
                select expire_time from lot_entries as e join lots using (lot_id)
                where e.transaction_id = page.transaction_id and e.amount > 0
            ) as received where page.amount > 0
        ) as expire_time
    from page join transactions as t using (transaction_id) left join payments using (payment_id)
    order by transaction_id desc
"""  # noqa: S608 - a constant


class CreditStore:
    """The credits of one database, for reading."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def balance(self, user_id: UUID, now: datetime) -> Balance:
        """Return the balance of a user at `now`, 0 for an unknown user."""
        async with self._database.connection() as connection:
            return balance_of(map(_lot, await connection.fetch(_LOTS, user_id)), now)

    async def entries(self, user_id: UUID, limit: int, *, after: UUID | None) -> list[CreditEntry]:
        """Return at most `limit` changes of a user's balance, newest first, after the one with id `after`."""
        async with self._database.connection() as connection:
            return [_entry(row) for row in await connection.fetch(_ENTRIES, user_id, limit, after)]


class Lots:
    """The lots of members within one transaction. Callers lock the account before they read or change its lots."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def lock(self, user_id: UUID) -> list[Lot]:
        """Lock a user's account until the end of the transaction, and return its lots in order of expiry.

        An unknown user gets an account. Expired lots whose expiry is not booked yet are included.
        """
        if await self._connection.fetchval(_LOCK_ACCOUNT, user_id) is None:
            await self._connection.execute(_OPEN_ACCOUNT, user_id)
            await self._connection.fetchval(_LOCK_ACCOUNT, user_id)
        # A separate statement, because its snapshot includes changes committed while the lock was awaited.
        return [_lot(row) for row in await self._connection.fetch(_LOTS, user_id)]

    async def taken_by(self, payment_id: UUID) -> list[Lot]:
        """Return the credits that a payment has taken and not returned, by lot, in order of expiry."""
        return [_lot(row) for row in await self._connection.fetch(_TAKEN_BY, payment_id)]

    async def change(self, user_id: UUID, transaction_id: UUID, changes: LotChanges) -> None:
        """Change a user's lots as part of a ledger transaction.

        The database rejects the transaction at commit unless the lots sum to the balance of the account.
        """
        if changes.amounts:
            amounts = changes.amounts
            await self._connection.execute(_CHANGE_LOTS, transaction_id, [*amounts], [*amounts.values()])
        if new := changes.new_lots:
            columns = [lot.credits for lot in new], [lot.expire_time for lot in new], [lot.replaces for lot in new]
            await self._connection.execute(_ADD_LOTS, user_id, transaction_id, *columns)

    async def next_expire_time(self, user_id: UUID) -> datetime | None:
        """Return the earliest expiry among a user's lots, or None if none of them expires."""
        found: datetime | None = await self._connection.fetchval(_NEXT_EXPIRE_TIME, user_id)
        return found


def _lot(row: asyncpg.Record) -> Lot:
    return Lot(row["lot_id"], row["credits"], row["expire_time"])


def _entry(row: asyncpg.Record) -> CreditEntry:
    return CreditEntry(
        entry_id=row["transaction_id"],
        kind=CreditEntryKind(row["kind"]),
        credits=row["amount"],
        balance_after=row["balance_after"],
        create_time=row["create_time"],
        expire_time=row["expire_time"],
        session_id=row["session_id"],
        subscription_id=row["subscription_id"],
        reason=row["reason"],
    )
