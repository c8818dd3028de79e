from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from contracts.errors import IdempotencyKeyReused, InvalidRequest, ScopeMissing
from interceptors.idempotency import IDEMPOTENCY_KEY
from solo60.payment.v1.payment_pb2 import GetBalanceRequest, GrantCreditsRequest
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from tests.services.payment.ledger_queries import company_account_sum, count
from tests.services.payment.requests import balance, grant, some_id

if TYPE_CHECKING:
    from solo60.payment.v1.payment_pb2_grpc import PaymentServiceAsyncStub
    from tests.support.serving import MeshForTests

KEY = ((IDEMPOTENCY_KEY, "subscription-7-june"),)


def monthly(user_id: str, credits_granted: int = 8) -> GrantCreditsRequest:
    """Return a request to grant a month's credits."""
    return GrantCreditsRequest(user_id=user_id, credits=credits_granted, reason="subscription, June")


@pytest.mark.requirement("J4")
async def test_granted_credits_can_be_spent_at_once(payments: PaymentServiceAsyncStub, mesh: MeshForTests) -> None:
    """Each grant returns the new balance, and the ledger's account of issued credits shows the sum."""
    user_id = some_id()

    assert await grant(payments, user_id, 8) == 8
    assert await grant(payments, user_id, 4) == 12

    assert await balance(payments, user_id) == 12
    assert await company_account_sum(mesh.database("payment"), "issued", "CREDIT") == -12


@pytest.mark.requirement("S6")
async def test_a_repeated_grant_adds_nothing(payments: PaymentServiceAsyncStub) -> None:
    """A grant repeated with its key returns the first answer and adds nothing, even after the balance has changed."""
    user_id = some_id()

    first = await payments.GrantCredits(monthly(user_id), metadata=KEY)
    await grant(payments, user_id, 5)
    second = await payments.GrantCredits(monthly(user_id), metadata=KEY)

    assert second == first
    assert await balance(payments, user_id) == 13


async def test_fifty_concurrent_grants_with_one_key_grant_once(
    payments: PaymentServiceAsyncStub, mesh: MeshForTests
) -> None:
    """Fifty concurrent grants with one key run once and return the same answer."""
    user_id = some_id()

    answers = await asyncio.gather(*[payments.GrantCredits(monthly(user_id), metadata=KEY) for _ in range(50)])

    assert {answer.credits for answer in answers} == {8}
    assert await count(mesh.database("payment"), "transactions") == 1


async def test_fifty_concurrent_grants_to_one_new_user_all_succeed(payments: PaymentServiceAsyncStub) -> None:
    """Fifty concurrent grants to one new account are serialised; none fails and none is lost."""
    user_id = some_id()

    answers = await asyncio.gather(*[payments.GrantCredits(monthly(user_id, 2)) for _ in range(50)])

    assert sorted(answer.credits for answer in answers) == list(range(2, 102, 2))
    assert await balance(payments, user_id) == 100


async def test_a_key_cannot_be_reused_for_another_grant(payments: PaymentServiceAsyncStub) -> None:
    """Another amount under the same key fails with IDEMPOTENCY_KEY_REUSED and grants nothing."""
    user_id = some_id()
    await payments.GrantCredits(monthly(user_id), metadata=KEY)

    with pytest.raises(IdempotencyKeyReused):
        await payments.GrantCredits(monthly(user_id, 9), metadata=KEY)

    assert await balance(payments, user_id) == 8


async def test_callers_may_use_the_same_key(mesh: MeshForTests) -> None:
    """Idempotency keys are separate per caller, so that the same key of two callers grants twice."""
    user_id = some_id()
    operator = mesh.stub(PaymentServiceStub)
    subscription = mesh.stub(PaymentServiceStub, caller="subscription")

    await operator.GrantCredits(monthly(user_id), metadata=KEY)
    await subscription.GrantCredits(monthly(user_id), metadata=KEY)

    assert await balance(operator, user_id) == 16


async def test_an_unknown_user_has_no_credits(payments: PaymentServiceAsyncStub, mesh: MeshForTests) -> None:
    """GetBalance returns 0 for an unknown user and creates no account."""
    accounts = await count(mesh.database("payment"), "accounts")

    assert await balance(payments, some_id()) == 0

    assert await count(mesh.database("payment"), "accounts") == accounts


@pytest.mark.requirement("C3")
@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (GrantCreditsRequest(user_id="17", credits=1, reason="goodwill"), "user_id"),
        (GrantCreditsRequest(user_id=some_id(), credits=0, reason="goodwill"), "credits"),
        (GrantCreditsRequest(user_id=some_id(), credits=1_000_001, reason="goodwill"), "credits"),
        (GrantCreditsRequest(user_id=some_id(), credits=1), "reason"),
        (GrantCreditsRequest(user_id=some_id(), credits=1, reason="\x00"), "reason"),
    ],
)
async def test_an_invalid_grant_names_its_field(
    payments: PaymentServiceAsyncStub, request_: GrantCreditsRequest, field: str
) -> None:
    """An invalid grant is rejected with one violation, which names the bad field."""
    with pytest.raises(InvalidRequest) as refused:
        await payments.GrantCredits(request_)
    assert [violation.field for violation in refused.value.violations] == [field]


@pytest.mark.requirement("C3")
async def test_an_invalid_balance_request_names_its_field(payments: PaymentServiceAsyncStub) -> None:
    """GetBalance rejects an invalid user id and names the field, although an unknown user is no error."""
    with pytest.raises(InvalidRequest) as refused:
        await payments.GetBalance(GetBalanceRequest(user_id="me"))
    assert [violation.field for violation in refused.value.violations] == ["user_id"]


@pytest.mark.requirement("S1")
async def test_a_caller_with_only_the_charge_scope_cannot_grant(mesh: MeshForTests) -> None:
    """The session service's key lacks the scope to grant credits, so that GrantCredits fails with ScopeMissing."""
    with pytest.raises(ScopeMissing):
        await grant(mesh.stub(PaymentServiceStub, caller="session"), some_id(), 1)
