"""What the database refuses, whatever the code above it does."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import asyncpg
import pytest

from contracts.errors import InsufficientCredits
from mesh.examination import find_violations
from services.payment.cards import TestModeProcessor
from services.payment.cashier import Cashier
from services.payment.domain import (
    CREDIT,
    Account,
    AccountKind,
    Entry,
    Means,
    Order,
    Price,
    entries_of_grant,
    member,
)
from services.payment.store import Books, PaymentStore
from tests.services.payment.ledger import violations

if TYPE_CHECKING:
    from mesh.database import Database

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
USER = UUID("6f1c1f5e-8a50-4c57-9c6e-0a3a0c5b1d11")
ISSUED = Account(AccountKind.ISSUED, CREDIT)
DOUBLE_REFUND = (
    "update entries set amount = amount * 2 from transactions as t"
    " where t.transaction_id = entries.transaction_id and t.kind = 'refund'"
)


@pytest.fixture
def store(database: Database) -> PaymentStore:
    """Open a ledger that holds nothing."""
    return PaymentStore(database)


async def grant(store: PaymentStore, credits_granted: int = 10) -> None:
    """Give the user credits."""
    await store.run(lambda books: books.post("grant", entries_of_grant(USER, credits_granted), NOON))


async def execute(database: Database, statement: str) -> None:
    """Execute a statement in a transaction of its own."""
    async with database.transaction() as connection:
        await connection.execute(statement)


@pytest.mark.parametrize(
    "entries",
    [
        [Entry(ISSUED, -5), Entry(member(USER), 6)],
        [Entry(member(USER), 5)],
        [Entry(ISSUED, -5), Entry(Account(AccountKind.INCOME, "GBP"), 5)],
        [],
    ],
    ids=["unequal", "one-sided", "across currencies", "empty"],
)
async def test_a_transaction_that_does_not_sum_to_zero_is_refused(store: PaymentStore, entries: list[Entry]) -> None:
    """At the commit, for each currency; and one without entries is none."""
    with pytest.raises(asyncpg.CheckViolationError):
        await store.run(lambda books: books.post("grant", entries, NOON))

    assert await store.balance(USER) == 0


async def test_the_sum_is_checked_at_the_commit(database: Database) -> None:
    """Entries may come one by one: only the whole must sum to zero."""
    async with database.transaction() as connection:
        await Books(connection).post("grant", [Entry(ISSUED, -5), Entry(member(USER), 5)], NOON)
        await connection.execute("insert into accounts (kind, currency) values ('cards', 'GBP'), ('income', 'GBP')")
        for kind, amount in (("cards", -7), ("income", 7)):
            await connection.execute(
                "insert into entries select transaction_id, account_id, accounts.currency, $2"
                " from transactions, accounts where accounts.kind = $1 and accounts.currency = 'GBP'",
                kind,
                amount,
            )


async def test_an_entry_after_an_early_check_is_checked_too(database: Database) -> None:
    """Who has the sum checked before the commit cannot add to it afterwards."""
    async with database.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await Books(connection).post("grant", entries_of_grant(USER, 5), NOON)
        await connection.execute("set constraints all immediate")
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(
                "insert into entries select transaction_id, account_id, 'CREDIT', 7 from transactions, accounts"
                " where accounts.kind = 'income'"
            )
        await transaction.rollback()


CHANGES = ["update {} set transaction_id = transaction_id", "delete from {}", "truncate {} cascade"]


@pytest.mark.parametrize("table", ["entries", "transactions"])
@pytest.mark.parametrize("statement", CHANGES)
async def test_the_service_may_not_change_what_is_written(
    store: PaymentStore, database: Database, table: str, statement: str
) -> None:
    """Its role has no permission to update, delete or truncate; what is wrong is reversed."""
    await grant(store)

    with pytest.raises(asyncpg.InsufficientPrivilegeError, match=f"permission denied for table {table}"):
        await execute(database, statement.format(table))

    assert await store.balance(USER) == 10


@pytest.mark.parametrize("table", ["entries", "transactions"])
@pytest.mark.parametrize("statement", CHANGES)
async def test_whoever_may_change_what_is_written_is_refused(
    store: PaymentStore, superuser: Database, table: str, statement: str
) -> None:
    """Triggers stand behind the permissions, which a superuser does not need."""
    await grant(store)

    with pytest.raises(asyncpg.RestrictViolationError):
        await execute(superuser, statement.format(table))

    assert await store.balance(USER) == 10


async def test_what_lets_transactions_be_locked_changes_none_of_them(store: PaymentStore, database: Database) -> None:
    """The one column with a permission takes no value, and not even its own."""
    await grant(store)

    with pytest.raises(asyncpg.GeneratedAlwaysError):
        await execute(database, "update transactions set lockable = false")
    with pytest.raises(asyncpg.RestrictViolationError):
        await execute(database, "update transactions set lockable = default")


@pytest.mark.parametrize("table", ["accounts", "payments", "sessions"])
async def test_what_entries_refer_to_is_not_deleted(database: Database, store: PaymentStore, table: str) -> None:
    """Nor is what they are about."""
    await captured(database)
    await grant(store)

    with pytest.raises(asyncpg.RestrictViolationError):
        await execute(database, f"delete from {table}")  # noqa: S608 - a parameter of the test


async def test_a_closed_transaction_takes_no_more_entries(store: PaymentStore, database: Database) -> None:
    """Not even such as sum to zero."""
    await grant(store)
    await execute(database, "insert into accounts (kind, currency) values ('cards', 'GBP'), ('income', 'GBP')")

    with pytest.raises(asyncpg.RestrictViolationError):
        await execute(
            database,
            "insert into entries"
            " select transaction_id, account_id, a.currency, case a.kind when 'cards' then 1 else -1 end"
            " from transactions, accounts as a where a.currency = 'GBP'",
        )


async def test_a_balance_moves_with_entries_only(store: PaymentStore, database: Database) -> None:
    """Balance = sum(entries), because nothing else may write it."""
    await grant(store)

    with pytest.raises(asyncpg.RestrictViolationError):
        await execute(database, "update accounts set balance = 1000 where kind = 'member'")


async def test_no_balance_falls_below_zero(store: PaymentStore) -> None:
    """The database says so where the code forgets to look."""
    await grant(store, 10)

    with pytest.raises(asyncpg.CheckViolationError, match="accounts_balance_not_below_zero"):
        await store.run(lambda books: books.post("grant", entries_of_grant(USER, -11), NOON))

    assert await store.balance(USER) == 10


async def test_a_balance_that_a_number_cannot_hold_is_refused(store: PaymentStore) -> None:
    """No overflow makes credits vanish."""
    await grant(store, 2**63 - 1)

    with pytest.raises(asyncpg.NumericValueOutOfRangeError):
        await grant(store, 1)

    assert await store.balance(USER) == 2**63 - 1


async def captured(database: Database) -> UUID:
    """Capture a payment by card and return its id."""
    cashier = Cashier(PaymentStore(database), TestModeProcessor(database), lambda: NOON)
    order = Order(uuid4(), USER, Price("GBP", 1250, 3), Means.CARD)
    return (await cashier.charge(order, "tok_visa")).payment_id


@pytest.mark.parametrize("status", ["pending", "declined", "voided"])
async def test_a_captured_payment_has_no_other_end_than_a_refund(database: Database, status: str) -> None:
    """One terminal state."""
    await captured(database)

    with pytest.raises(asyncpg.RestrictViolationError):
        await execute(database, f"update payments set status = '{status}'")  # noqa: S608 - a parameter of the test


async def test_what_a_payment_is_for_does_not_change(database: Database) -> None:
    """The terms of a payment are as immutable as its entries."""
    await captured(database)

    with pytest.raises(asyncpg.RestrictViolationError, match="does not change"):
        await execute(
            database,
            "update payments set minor_units = 1, status = 'refunded', refunded_in = 'card', refund_reason = '',"
            " refund_time = now()",
        )


@pytest.mark.parametrize("kind", ["charge", "credit_back"])
async def test_a_payment_is_taken_once_and_given_back_once(database: Database, kind: str) -> None:
    """A second transaction of the kind is refused by an index, whatever was decided before."""
    payment_id = await captured(database)
    store = PaymentStore(database)

    async def post(books: Books) -> None:
        await books.post(kind, entries_of_grant(USER, 3), NOON, payment_id=payment_id)

    with pytest.raises(asyncpg.UniqueViolationError):
        await store.run(lambda books: twice(books, post))

    assert await store.balance(USER) == 0


async def twice(books: Books, post: object) -> None:
    """Do it two times."""
    assert callable(post)
    await post(books)
    await post(books)


@pytest.mark.parametrize(
    ("breakage", "view"),
    [
        ("update accounts set balance = balance + 1 where kind = 'member'", "violation_balance_not_sum"),
        ("update entries set amount = amount + 1 where amount = 10", "violation_sum_not_zero"),
        (
            "update entries set amount = -3 where amount = 10; update accounts set balance = 0 where kind = 'member'",
            "violation_balance_below_zero",
        ),
        ("update payments set status = 'pending' where status = 'captured'", "violation_status_not_ledger"),
        (DOUBLE_REFUND, "violation_reversal_not_mirrored"),
        (DOUBLE_REFUND, "violation_refund_above_capture"),
    ],
)
async def test_each_view_of_invariants_finds_what_breaks_it(
    store: PaymentStore, database: Database, superuser: Database, breakage: str, view: str
) -> None:
    """An empty view means something, because what the triggers would refuse shows up in it."""
    await grant(store)
    await captured(database)
    cashier = Cashier(store, TestModeProcessor(database), lambda: NOON)
    order = Order(uuid4(), USER, Price("GBP", 1250, 3), Means.CARD)
    await cashier.charge(order, "tok_visa")
    await cashier.refund(order.session_id, "session cancelled")
    before = await violations(database)

    async with superuser.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("set local session_replication_role = replica")
        await connection.execute(breakage)
        found = await find_violations(connection)
        await transaction.rollback()

    assert before == set()
    assert view in {violation.view for violation in found}


async def test_the_account_of_a_member_is_locked_before_it_is_looked_at(
    database: Database, store: PaymentStore
) -> None:
    """A charge waits for the one before it and then sees what that left."""
    await grant(store, 5)
    cashier = Cashier(store, TestModeProcessor(database), lambda: NOON)
    orders = [Order(uuid4(), USER, Price("GBP", 1250, 3), Means.CREDITS) for _ in range(2)]

    async with database.transaction() as connection:
        await Books(connection).lock_balance(USER)
        charging = asyncio.ensure_future(cashier.charge(orders[0], ""))
        await _someone_waits_for_a_lock(database)
        await Books(connection).post("grant", entries_of_grant(USER, -3), NOON)

    with pytest.raises(InsufficientCredits):
        await charging
    assert await store.balance(USER) == 2


async def _someone_waits_for_a_lock(database: Database) -> None:
    async with asyncio.timeout(60):
        while True:
            async with database.connection() as connection:
                if await connection.fetchval("select count(*) from pg_locks where not granted"):
                    return
