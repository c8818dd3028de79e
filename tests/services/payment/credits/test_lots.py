"""Lots in the database: which credits a charge takes, when they expire, and where they return to."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import asyncpg
import pytest

from contracts.errors import InsufficientCredits
from services.payment.credits.domain import GRACE_PERIOD, Grant, LotChanges, NewLot
from services.payment.domain import CREDIT, ChargeOrder, PaymentMethod, Price, entries_of_grant
from services.payment.refunds.domain import PartialRefund
from services.payment.store import PaymentStore
from tests.services.payment.cashiers import NOON, balance, cashier_of, expire, grant, new_accounts
from tests.services.payment.ledger_queries import company_account_sum, count, violations

if TYPE_CHECKING:
    from mesh.data.database import Database
    from services.payment.domain import Payment

USER = UUID("6f1c1f5e-8a50-4c57-9c6e-0a3a0c5b1d11")
DAY, TICK = timedelta(days=1), timedelta(microseconds=1)
LOTS = """
    select remaining, expire_time from lots join accounts using (account_id)
    where user_id = $1 and remaining > 0 order by expire_time nulls last, lot_id
"""
EXPIRIES = """
    select create_time, amount from transactions join entries using (transaction_id) join accounts using (account_id)
    where transactions.kind = 'expiry' and accounts.kind = 'member' order by transaction_id
"""
PENDING = "select due_time from outbox where status = 'pending' and cancel_key = $1 order by due_time"


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


@pytest.fixture
def member(database: Database) -> Member:
    """Return a member without credits."""
    return Member(database)


async def test_a_charge_takes_the_credits_that_expire_first(member: Member) -> None:
    """A charge takes from the lot that expires first, then from the next; lots without expiry come last."""
    for credits_granted, expire_time in [(5, None), (5, NOON + 2 * DAY), (5, NOON + DAY), (5, NOON + 2 * DAY)]:
        await member.grant(credits_granted, expire_time)

    await member.charge(7)
    assert await member.lots() == [(3, NOON + 2 * DAY), (5, NOON + 2 * DAY), (5, None)]
    await member.charge(10)
    assert await member.lots() == [(3, None)]
    assert await member.balance() == 3


async def test_credits_leave_the_balance_exactly_at_their_expiry(member: Member) -> None:
    """From their expiry on, credits neither count nor pay, although no expiry is booked yet."""
    await member.grant(5, NOON + DAY)

    member.now = NOON + DAY - TICK
    assert await member.balance() == 5
    member.now = NOON + DAY
    assert await member.balance() == 0
    with pytest.raises(InsufficientCredits):
        await member.charge(1)
    assert await member.fetch(EXPIRIES) == []


async def test_credits_can_be_spent_until_the_last_moment(member: Member) -> None:
    """A charge one microsecond before the expiry takes the credits, and the expiry then takes only the rest."""
    await member.grant(5, NOON + DAY)

    member.now = NOON + DAY - TICK
    await member.charge(3)
    member.now = NOON + 2 * DAY
    await member.expire()

    assert [tuple(row) for row in await member.fetch(EXPIRIES)] == [(NOON + DAY, -2)]


async def test_an_expiry_is_booked_once_for_its_time(member: Member, database: Database) -> None:
    """A late booking has the time of the expiry, a repeated one adds nothing, and the ledger sums to zero."""
    await member.grant(5, NOON + DAY)
    await member.grant(4, NOON + 2 * DAY)
    await member.grant(3)

    member.now = NOON + 31 * DAY
    for _ in range(3):
        await member.expire()

    assert [tuple(row) for row in await member.fetch(EXPIRIES)] == [(NOON + DAY, -5), (NOON + 2 * DAY, -4)]
    assert await member.balance() == 3
    assert await company_account_sum(database, "issued", "CREDIT") == -3
    assert await violations(database) == set()


async def test_an_early_booking_changes_nothing(member: Member) -> None:
    """A booking before the expiry takes no credits, and schedules the booking again."""
    await member.grant(5, NOON + DAY)

    member.now = NOON + DAY - TICK
    await member.expire()

    assert await member.fetch(EXPIRIES) == []
    assert await scheduled(member) == [NOON + DAY]


@pytest.mark.parametrize("operation", ["grant", "charge", "refund"])
async def test_the_next_operation_books_expired_credits_first(member: Member, operation: str) -> None:
    """A grant, charge or refund books the expired credits of the account before its own entry."""
    await member.grant(4)
    payment = await member.charge(4)
    await member.grant(5, NOON + DAY)
    await member.grant(2)

    member.now = NOON + 2 * DAY
    match operation:
        case "grant":
            assert await member.grant(1) == 3
        case "charge":
            await member.charge(1)
        case _:
            await member.refund(payment)

    kinds = await member.fetch("select kind from transactions order by transaction_id desc limit 2")
    assert [kind for (kind,) in kinds] == [operation, "expiry"]
    assert [tuple(row) for row in await member.fetch(EXPIRIES)] == [(NOON + DAY, -5)]


async def test_a_refund_returns_credits_to_their_lots(member: Member) -> None:
    """A refund restores each lot with its own expiry."""
    await member.grant(2, NOON + DAY)
    await member.grant(2, NOON + 2 * DAY)
    await member.grant(2)
    payment = await member.charge(5)

    await member.refund(payment)

    assert await member.lots() == [(2, NOON + DAY), (2, NOON + 2 * DAY), (2, None)]


async def test_a_refund_after_the_expiry_gives_thirty_days(member: Member) -> None:
    """Credits whose lot has expired return for 30 days; the others of the same charge keep their expiry."""
    await member.grant(2, NOON + DAY)
    await member.grant(2, NOON + 90 * DAY)
    payment = await member.charge(4)

    member.now = NOON + 2 * DAY
    await member.credit_back(payment)

    assert await member.lots() == [(2, NOON + 2 * DAY + GRACE_PERIOD), (2, NOON + 90 * DAY)]
    assert GRACE_PERIOD == 30 * DAY
    assert await scheduled(member) == [NOON + 32 * DAY]


async def test_returned_credits_can_expire_and_return_again(member: Member, database: Database) -> None:
    """Credits that returned in a new lot are spent from it, and return for another 30 days after it has expired."""
    await member.grant(2, NOON + DAY)
    first = await member.charge(2)
    member.now = NOON + 2 * DAY
    await member.refund(first)
    second = await member.charge(2)
    member.now = NOON + 60 * DAY
    await member.refund(second)

    assert await member.lots() == [(2, NOON + 90 * DAY)]
    assert await violations(database) == set()


@pytest.mark.parametrize(
    ("days", "lots"),
    [(0, [(1, NOON + DAY), (3, None)]), (2, [(1, NOON + 32 * DAY), (3, None)])],
    ids=["valid", "expired"],
)
async def test_a_part_of_a_payment_can_return(
    member: Member, days: int, lots: list[tuple[int, datetime | None]]
) -> None:
    """A part returns first to the lot that was taken last, and the rest of it to the lot before, or in its place."""
    await member.grant(3, NOON + DAY)
    await member.grant(3)
    payment = await member.charge(6)
    member.now = NOON + days * DAY

    await member.refund_part(payment, 4)

    async with PaymentStore(member.database).transaction() as ledger:
        taken = await ledger.lots.taken_by(payment.payment_id)
    assert await member.lots() == lots
    assert [(lot.credits, lot.expire_time) for lot in taken] == [(2, NOON + DAY)]


async def test_credits_for_a_card_payment_never_expire(member: Member) -> None:
    """A card payment that is refunded in credits adds a lot without expiry."""
    payment = await member.charge(3, PaymentMethod.CARD)

    await member.credit_back(payment)

    assert await member.lots() == [(3, None)]


async def test_one_booking_is_scheduled_at_the_next_expiry(member: Member) -> None:
    """An account has one scheduled booking, at the earliest expiry, whatever the order of the grants."""
    await member.grant(1)
    assert await scheduled(member) == []
    for days in (5, 2, 9):
        await member.grant(1, NOON + days * DAY)
    assert await scheduled(member) == [NOON + 2 * DAY]

    member.now = NOON + 2 * DAY
    await member.expire()
    assert await scheduled(member) == [NOON + 5 * DAY]


async def scheduled(member: Member) -> list[datetime]:
    """Return the due times of the member's scheduled bookings."""
    return [row["due_time"] for row in await member.fetch(PENDING, f"expiry/{USER}")]


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


async def test_a_grant_stores_its_subscription(database: Database) -> None:
    """The ledger transaction of a grant has the id of the subscription."""
    subscription_id = uuid4()
    async with PaymentStore(database).transaction() as ledger:
        await new_accounts().grant(ledger, Grant(USER, 5, "June", NOON + DAY, subscription_id), NOON)

    assert await count(database, f"(select from transactions where subscription_id = '{subscription_id}') as t") == 1
