"""Rules of lots that the database itself enforces."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import asyncpg
import pytest

from services.payment.credits.domain import LotChanges, NewLot
from services.payment.domain import entries_of_grant
from services.payment.store import PaymentStore
from tests.services.payment.cashiers import NOON
from tests.services.payment.credits.member import USER
from tests.services.payment.ledger_queries import violations

if TYPE_CHECKING:
    from mesh.data.database import Database
    from tests.services.payment.credits.member import Member

DAY = timedelta(days=1)


async def test_lots_must_sum_to_the_balance(member: Member, database: Database) -> None:
    """The database rejects a ledger transaction whose lots do not change by the amount of the member's entry."""
    await member.grant(5)

    with pytest.raises(asyncpg.CheckViolationError, match="do not sum to its balance"):
        await post_with_lots(database, LotChanges())
    with pytest.raises(asyncpg.CheckViolationError, match="do not sum to its balance"):
        await post_with_lots(database, LotChanges(new_lots=(NewLot(2, None),)))

    assert await member.lots() == [(5, None)]


async def test_a_lot_cannot_fall_below_zero(member: Member, database: Database) -> None:
    """A check constraint rejects a change that takes more from a lot than it has, even if the sum is right."""
    await member.grant(1)
    ((lot_id,),) = await member.fetch("select lot_id from lots")

    with pytest.raises(asyncpg.CheckViolationError, match="lots_remaining_in_range"):
        await post_with_lots(database, LotChanges({lot_id: -2}, (NewLot(3, None),)))


async def post_with_lots(database: Database, changes: LotChanges) -> None:
    """Grant one credit in the ledger, with the given changes of lots."""
    async with PaymentStore(database).transaction() as ledger:
        transaction_id = await ledger.post("grant", entries_of_grant(USER, 1), NOON)
        await ledger.lots.change(USER, transaction_id, changes)


@pytest.mark.parametrize(
    "statement",
    [
        "update lots set granted = 100",
        "update lots set expire_time = null",
        "delete from lots",
        "truncate lots cascade",
        "update lot_entries set amount = -1",
        "delete from lot_entries",
        "truncate lot_entries",
    ],
)
async def test_the_service_cannot_change_the_history_of_lots(
    member: Member, database: Database, superuser: Database, statement: str
) -> None:
    """The service's role lacks the privilege to change lots and their entries, and triggers reject a superuser too."""
    await member.grant(5, NOON + DAY)
    await member.charge(2)

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await execute(database, statement)
    with pytest.raises(asyncpg.RestrictViolationError):
        await execute(superuser, statement)


async def test_a_lot_changes_only_by_entries_of_an_open_transaction(member: Member, database: Database) -> None:
    """Remaining credits cannot be updated directly, and a committed ledger transaction takes no more entries."""
    await member.grant(5, NOON + DAY)
    await member.charge(2)

    with pytest.raises(asyncpg.RestrictViolationError):
        await execute(database, "update lots set remaining = 5")
    with pytest.raises(asyncpg.RestrictViolationError, match="is closed"):
        await execute(
            database,
            "insert into lot_entries select transaction_id, lot_id, 1 from lots where transaction_id is not null",
        )


async def execute(database: Database, statement: str) -> None:
    """Execute a statement in its own transaction."""
    async with database.transaction() as connection:
        await connection.execute(statement)


@pytest.mark.parametrize(
    ("breakage", "view"),
    [
        ("update lots set remaining = remaining - 1 where remaining > 0", "violation_lots_not_balance"),
        ("update lots set remaining = remaining - 1 where remaining > 0", "violation_lot_not_sum"),
        ("update lot_entries set amount = 9 where amount = 2", "violation_lot_returned_above_taken"),
        ("update lots set expire_time = null where expire_time is not null", "violation_lot_expired_early"),
        ("update lots set expire_time = expire_time + interval '1 s'", "violation_lot_expired_early"),
    ],
)
async def test_each_view_of_lots_finds_its_violation(
    member: Member, database: Database, superuser: Database, breakage: str, view: str
) -> None:
    """Each view is empty for sound lots and reports a violation that triggers would have prevented."""
    await member.grant(5, NOON + DAY)
    payment = await member.charge(2)
    await member.refund(payment)
    member.now = NOON + DAY
    await member.expire()
    await member.grant(5)
    before = await violations(database)

    async with superuser.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("set local session_replication_role = replica")
        await connection.execute(breakage)
        rows = await connection.fetch(f"select * from {view}")  # noqa: S608 - a parameter of the test
        await transaction.rollback()

    assert before == set()
    assert rows != []
