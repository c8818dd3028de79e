"""Erasure of the free texts about a user, while the ledger stays closed for any other change."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg
import pytest

from solo60.payment.v1.payment_pb2 import (
    GetPaymentRequest,
    GrantCreditsRequest,
    OnUserErasedRequest,
    PaymentStatus,
    RefundSessionRequest,
)
from solo60.user.v1.events_pb2 import UserErased
from tests.services.payment.requests import BY_CREDITS, charge, credit_back, refund, some_id

if TYPE_CHECKING:
    from solo60.payment.v1.payment_pb2_grpc import PaymentServiceAsyncStub
    from tests.support.serving import MeshForTests

REASONS = """
    select reason from transactions union all select refund_reason from payments where refund_reason is not null
    union all select void_reason from sessions where void_reason is not null
"""
OTHER_CHANGES = [
    "update transactions set reason = 'another'",
    "update transactions set reason = '', create_time = now()",
    "update transactions set kind = 'refund', reason = ''",
    "delete from transactions",
    "update payments set refund_reason = 'another'",
    "update payments set refund_reason = '', minor_units = 1",
    "update payments set refund_reason = '', status = 'captured'",
]
AMOUNTS = "select account_id, sum(amount) from entries group by account_id order by account_id"


async def rows(mesh: MeshForTests, query: str) -> list[tuple[object, ...]]:
    """Query the payment database."""
    async with mesh.database("payment").connection() as connection:
        return [tuple(row) for row in await connection.fetch(query)]


async def live(payments: PaymentServiceAsyncStub, user_id: str) -> list[str]:
    """Grant credits, and charge and refund three sessions; return the ids of the payments."""
    await payments.GrantCredits(GrantCreditsRequest(user_id=user_id, credits=9, reason="for the parrot"))
    charges = [charge(user_id=user_id), charge(user_id=user_id), charge(BY_CREDITS, user_id=user_id)]
    ids = [(await payments.ChargeSession(each)).payment.payment_id for each in charges]
    await payments.RefundSession(refund(charges[0], "the parrot is ill"))
    await payments.CreditBackSession(credit_back(charges[1], "the parrot is well"))
    return ids


async def test_reasons_are_erased_and_amounts_stay(mesh: MeshForTests, payments: PaymentServiceAsyncStub) -> None:
    """OnUserErased erases each reason of a user's grants and refunds. Amounts, ids and statuses stay."""
    user_id = some_id()
    ids = await live(payments, user_id)
    amounts = await rows(mesh, AMOUNTS)
    assert any("parrot" in str(reason) for reason in await rows(mesh, REASONS))

    await payments.OnUserErased(OnUserErasedRequest(event=UserErased(user_id=user_id)))

    assert {reason for (reason,) in await rows(mesh, REASONS)} == {""}
    assert await rows(mesh, AMOUNTS) == amounts
    found = [(await payments.GetPayment(GetPaymentRequest(payment_id=each))).payment for each in ids]
    assert [PaymentStatus.Name(each.status) for each in found] == [
        "PAYMENT_STATUS_REFUNDED",
        "PAYMENT_STATUS_REFUNDED",
        "PAYMENT_STATUS_CAPTURED",
    ]
    assert [each.refund.reason for each in found] == ["", "", ""]


async def test_an_erased_payment_can_still_be_refunded(payments: PaymentServiceAsyncStub) -> None:
    """A refund after the erasure goes forward as before, so that no money is retained."""
    user_id = some_id()
    ids = await live(payments, user_id)
    await payments.OnUserErased(OnUserErasedRequest(event=UserErased(user_id=user_id)))
    captured = (await payments.GetPayment(GetPaymentRequest(payment_id=ids[2]))).payment

    await payments.RefundSession(RefundSessionRequest(session_id=captured.session_id, reason="member left"))

    after = (await payments.GetPayment(GetPaymentRequest(payment_id=ids[2]))).payment
    assert after.status == PaymentStatus.PAYMENT_STATUS_REFUNDED


async def test_reasons_of_other_users_stay(mesh: MeshForTests, payments: PaymentServiceAsyncStub) -> None:
    """An erasure leaves the reasons of other users."""
    await live(payments, some_id())
    before = await rows(mesh, REASONS)

    await payments.OnUserErased(OnUserErasedRequest(event=UserErased(user_id=some_id())))

    assert await rows(mesh, REASONS) == before


async def test_the_ledger_allows_no_other_change(mesh: MeshForTests, payments: PaymentServiceAsyncStub) -> None:
    """Erasing a reason is the only change that the database allows to a ledger transaction or a refunded payment."""
    ids = await live(payments, some_id())
    where = f" where payment_id = '{UUID(ids[0])}'"

    for statement in OTHER_CHANGES:
        with pytest.raises((asyncpg.RestrictViolationError, asyncpg.InsufficientPrivilegeError)):
            await rows(mesh, statement + where)
