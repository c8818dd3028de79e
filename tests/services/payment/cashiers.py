"""Cashier and credit accounts on a database without a running service."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mesh.data.conflicts import retried_on_conflict
from services.payment.cards import TestModeProcessor
from services.payment.cashier import Cashier
from services.payment.credits.accounts import CreditAccounts
from services.payment.credits.domain import Grant
from services.payment.credits.store import CreditStore
from services.payment.store import PaymentStore
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from tests.support.offline_stub import offline_stub

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from mesh.data.database import Database

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def noon() -> datetime:
    """Return the fixed time of tests that need no other."""
    return NOON


def new_accounts() -> CreditAccounts:
    """Return credit accounts whose outbox calls are stored, but delivered by nobody."""
    return CreditAccounts(offline_stub(PaymentServiceStub))


def cashier_of(database: Database, now: Callable[[], datetime] = noon) -> Cashier:
    """Return a cashier on `database` with the test-mode card processor."""
    return Cashier(PaymentStore(database), TestModeProcessor(database), new_accounts(), now)


@retried_on_conflict
async def grant(
    database: Database,
    user_id: UUID,
    credits_granted: int = 10,
    expire_time: datetime | None = None,
    now: datetime = NOON,
) -> int:
    """Grant credits in a separate transaction, and return the new balance."""
    async with PaymentStore(database).transaction() as ledger:
        new = Grant(user_id, credits_granted, "goodwill", expire_time)
        return await new_accounts().grant(ledger, new, now)


async def expire(database: Database, user_id: UUID, now: datetime) -> int:
    """Book the expired credits of a user in a separate transaction, and return the balance after it."""
    await _expire(database, user_id, now)
    return await balance(database, user_id, now)


@retried_on_conflict
async def _expire(database: Database, user_id: UUID, now: datetime) -> None:
    async with PaymentStore(database).transaction() as ledger:
        await new_accounts().expire(ledger, user_id, now)


async def balance(database: Database, user_id: UUID, now: datetime = NOON) -> int:
    """Return the balance of a user at a time."""
    return (await CreditStore(database).balance(user_id, now)).credits
