"""Lots in the database: which credits a charge takes, when they expire, and where they return to."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from contracts.errors import InsufficientCredits
from services.payment.credits.domain import GRACE_PERIOD, Grant
from services.payment.domain import PaymentMethod
from services.payment.store import PaymentStore
from tests.services.payment.cashiers import NOON, new_accounts
from tests.services.payment.credits.member import USER
from tests.services.payment.ledger_queries import company_account_sum, count, violations

if TYPE_CHECKING:
    from mesh.data.database import Database
    from tests.services.payment.credits.member import Member

DAY, TICK = timedelta(days=1), timedelta(microseconds=1)
EXPIRIES = """
    select create_time, amount from transactions join entries using (transaction_id) join accounts using (account_id)
    where transactions.kind = 'expiry' and accounts.kind = 'member' order by transaction_id
"""
PENDING = "select due_time from outbox where status = 'pending' and cancel_key = $1 order by due_time"


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


async def test_a_grant_stores_its_subscription(database: Database) -> None:
    """The ledger transaction of a grant has the id of the subscription."""
    subscription_id = uuid4()
    async with PaymentStore(database).transaction() as ledger:
        await new_accounts().grant(ledger, Grant(USER, 5, "June", NOON + DAY, subscription_id), NOON)

    assert await count(database, f"(select from transactions where subscription_id = '{subscription_id}') as t") == 1
