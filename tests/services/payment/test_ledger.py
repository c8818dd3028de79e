"""Rules of the ledger that the database itself enforces."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import asyncpg
import pytest

from contracts.errors import InsufficientCredits
from mesh.data.integrity import find_broken_invariants
from services.payment.credits.domain import LotChanges, NewLot
from services.payment.domain import (
    CREDIT,
    Account,
    AccountKind,
    ChargeOrder,
    Entry,
    PaymentMethod,
    Price,
    entries_of_grant,
    member_account,
)
from services.payment.store import Ledger, PaymentStore
from tests.services.payment.cashiers import NOON, balance, cashier_of, grant
from tests.services.payment.ledger_queries import someone_waits_for_a_lock, violations
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mesh.data.database import Database

USER = UUID("6f1c1f5e-8a50-4c57-9c6e-0a3a0c5b1d11")
ISSUED = Account(AccountKind.ISSUED, CREDIT)
DOUBLE_REFUND = (
    "update entries set amount = amount * 2 from transactions as t"
    " where t.transaction_id = entries.transaction_id and t.kind = 'refund'"
)


@pytest.fixture
def store(database: Database) -> PaymentStore:
    """Return a store on an empty ledger."""
    return PaymentStore(database)


async def post(store: PaymentStore, entries: Sequence[Entry], new_credits: int = 0) -> None:
    """Post entries in their own transaction, with a new lot for the member."""
    async with store.transaction() as ledger:
        transaction_id = await ledger.post("grant", entries, NOON)
        if new_credits:
            await ledger.lots.change(USER, transaction_id, LotChanges(new_lots=(NewLot(new_credits, None),)))


async def execute(database: Database, statement: str) -> None:
    """Execute a statement in its own transaction."""
    async with database.transaction() as connection:
        await connection.execute(statement)


@pytest.mark.parametrize(
    "entries",
    [
        [Entry(ISSUED, -5), Entry(member_account(USER), 6)],
        [Entry(member_account(USER), 5)],
        [Entry(ISSUED, -5), Entry(Account(AccountKind.INCOME, "GBP"), 5)],
        [],
    ],
    ids=["unequal", "one-sided", "across currencies", "empty"],
)
async def test_a_transaction_that_does_not_sum_to_zero_is_rejected(
    store: PaymentStore, database: Database, entries: list[Entry]
) -> None:
    """A transaction without entries, or with a nonzero sum in any currency, is rejected at commit."""
    new_credits = sum(entry.amount for entry in entries if entry.account.kind is AccountKind.MEMBER)
    with pytest.raises(asyncpg.CheckViolationError, match=r"does not sum to zero|has no entries"):
        await post(store, entries, new_credits)

    assert await balance(database, USER) == 0


async def test_the_sum_is_checked_at_the_commit(database: Database) -> None:
    """Unbalanced entries are allowed inside a transaction, because the sum is checked only at commit."""
    async with Ledger.begin(database) as ledger:
        await ledger.post("grant", [Entry(ISSUED, -5), Entry(Account(AccountKind.INCOME, CREDIT), 5)], NOON)
        await ledger.connection.execute(
            "insert into accounts (kind, currency) values ('cards', 'GBP'), ('income', 'GBP')"
        )
        for kind, amount in (("cards", -7), ("income", 7)):
            await ledger.connection.execute(
                "insert into entries select transaction_id, account_id, accounts.currency, $2"
                " from transactions, accounts where accounts.kind = $1 and accounts.currency = 'GBP'",
                kind,
                amount,
            )


async def test_an_entry_added_after_an_early_check_is_checked(database: Database) -> None:
    """An unbalanced entry added after `set constraints all immediate` is rejected."""
    async with database.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        ledger = Ledger(connection)
        transaction_id = await ledger.post("grant", entries_of_grant(USER, 5), NOON)
        await ledger.lots.change(USER, transaction_id, LotChanges(new_lots=(NewLot(5, None),)))
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
async def test_the_service_cannot_change_ledger_rows(database: Database, table: str, statement: str) -> None:
    """The service's role lacks the privilege to update, delete or truncate entries and transactions."""
    await grant(database, USER)

    with pytest.raises(asyncpg.InsufficientPrivilegeError, match=f"permission denied for table {table}"):
        await execute(database, statement.format(table))

    assert await balance(database, USER) == 10


@pytest.mark.parametrize("table", ["entries", "transactions"])
@pytest.mark.parametrize("statement", CHANGES)
async def test_a_superuser_cannot_change_ledger_rows(
    database: Database, superuser: Database, table: str, statement: str
) -> None:
    """Triggers reject updates, deletes and truncates of entries and transactions, even by a superuser."""
    await grant(database, USER)

    with pytest.raises(asyncpg.RestrictViolationError):
        await execute(superuser, statement.format(table))

    assert await balance(database, USER) == 10


async def test_the_lockable_column_cannot_be_changed(database: Database) -> None:
    """Every update of the column `lockable` fails. Its update privilege only permits row locks."""
    await grant(database, USER)

    with pytest.raises(asyncpg.GeneratedAlwaysError):
        await execute(database, "update transactions set lockable = false")
    with pytest.raises(asyncpg.RestrictViolationError):
        await execute(database, "update transactions set lockable = default")


@pytest.mark.parametrize("table", ["accounts", "payments", "sessions"])
async def test_referenced_rows_cannot_be_deleted(database: Database, table: str) -> None:
    """Accounts, payments and sessions that the ledger refers to cannot be deleted."""
    await captured(database)
    await grant(database, USER)

    with pytest.raises(asyncpg.RestrictViolationError):
        await execute(database, f"delete from {table}")  # noqa: S608 - a parameter of the test


async def test_a_committed_transaction_takes_no_more_entries(database: Database) -> None:
    """A committed transaction takes no further entries, even if they sum to zero."""
    await grant(database, USER)
    await execute(database, "insert into accounts (kind, currency) values ('cards', 'GBP'), ('income', 'GBP')")

    with pytest.raises(asyncpg.RestrictViolationError):
        await execute(
            database,
            "insert into entries"
            " select transaction_id, account_id, a.currency, case a.kind when 'cards' then 1 else -1 end"
            " from transactions, accounts as a where a.currency = 'GBP'",
        )


async def test_a_balance_changes_only_with_entries(database: Database) -> None:
    """A direct update of a balance is rejected, so that each balance equals the sum of its entries."""
    await grant(database, USER)

    with pytest.raises(asyncpg.RestrictViolationError):
        await execute(database, "update accounts set balance = 1000 where kind = 'member'")


async def test_a_balance_cannot_fall_below_zero(database: Database, store: PaymentStore) -> None:
    """A check constraint rejects an entry that would make a member's balance negative."""
    await grant(database, USER, 10)

    with pytest.raises(asyncpg.CheckViolationError, match="accounts_balance_not_below_zero"):
        await post(store, entries_of_grant(USER, -11))

    assert await balance(database, USER) == 10


async def test_a_balance_cannot_overflow(database: Database) -> None:
    """A grant that would overflow an int64 balance is rejected and does not change the balance."""
    await grant(database, USER, 2**63 - 1)

    with pytest.raises(asyncpg.NumericValueOutOfRangeError):
        await grant(database, USER, 1)

    assert await balance(database, USER) == 2**63 - 1


async def captured(database: Database) -> UUID:
    """Capture a payment by card and return its id."""
    cashier = cashier_of(database)
    order = ChargeOrder(uuid4(), USER, Price("GBP", 1250, 3), PaymentMethod.CARD)
    return (await cashier.charge(order, "tok_visa")).payment_id


@pytest.mark.parametrize("status", ["pending", "declined", "voided"])
async def test_a_captured_payment_can_only_be_refunded(database: Database, status: str) -> None:
    """A captured payment cannot become pending, declined or voided again."""
    await captured(database)

    with pytest.raises(asyncpg.RestrictViolationError):
        await execute(database, f"update payments set status = '{status}'")  # noqa: S608 - a parameter of the test


async def test_the_terms_of_a_payment_are_immutable(database: Database) -> None:
    """The amount of a payment cannot be changed, even together with a valid change of its status."""
    await captured(database)

    with pytest.raises(asyncpg.RestrictViolationError, match="does not change"):
        await execute(
            database,
            "update payments set minor_units = 1, status = 'refunded', refunded_in = 'card', refund_reason = '',"
            " refund_time = now()",
        )


@pytest.mark.parametrize("kind", ["charge", "credit_back"])
async def test_a_payment_is_charged_once_and_credited_back_once(database: Database, kind: str) -> None:
    """A unique index rejects a second charge or credit-back transaction of one payment."""
    payment_id = await captured(database)
    store = PaymentStore(database)

    with pytest.raises(asyncpg.UniqueViolationError):
        await post_twice(store, kind, payment_id)

    assert await balance(database, USER) == 0


async def post_twice(store: PaymentStore, kind: str, payment_id: UUID) -> None:
    """Post two transactions of one kind for a payment."""
    async with store.transaction() as ledger:
        for _ in range(2):
            transaction_id = await ledger.post(kind, entries_of_grant(USER, 3), NOON, payment_id=payment_id)
            await ledger.lots.change(USER, transaction_id, LotChanges(new_lots=(NewLot(3, None),)))


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
async def test_each_invariant_view_finds_its_violation(
    database: Database, superuser: Database, breakage: str, view: str
) -> None:
    """Each invariant view is empty for a sound ledger and reports a violation that triggers would have prevented."""
    await grant(database, USER)
    await captured(database)
    cashier = cashier_of(database)
    order = ChargeOrder(uuid4(), USER, Price("GBP", 1250, 3), PaymentMethod.CARD)
    await cashier.charge(order, "tok_visa")
    await cashier.refund(order.session_id, "session cancelled")
    before = await violations(database)

    async with superuser.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("set local session_replication_role = replica")
        await connection.execute(breakage)
        found = await find_broken_invariants(connection)
        await transaction.rollback()

    assert before == set()
    assert view in {violation.view for violation in found}


async def test_the_members_account_is_locked_before_it_is_read(database: Database, store: PaymentStore) -> None:
    """A charge waits for a concurrent change of the member's balance, then reads the balance that it left."""
    await grant(database, USER, 5)
    cashier = cashier_of(database)
    orders = [ChargeOrder(uuid4(), USER, Price("GBP", 1250, 3), PaymentMethod.CREDITS) for _ in range(2)]

    async with store.transaction() as ledger:
        (lot,) = await ledger.lots.lock(USER)
        charging = asyncio.ensure_future(cashier.charge(orders[0], ""))
        await eventually(partial(someone_waits_for_a_lock, database))
        transaction_id = await ledger.post("grant", entries_of_grant(USER, -3), NOON)
        await ledger.lots.change(USER, transaction_id, LotChanges({lot.lot_id: -3}))

    with pytest.raises(InsufficientCredits):
        await charging
    assert await balance(database, USER) == 2
