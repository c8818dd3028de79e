from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from contracts.errors import PaymentNotFound, PaymentVoided, Unavailable
from services.payment.app import payment_service
from services.payment.cards import CardOutcome, TestModeProcessor
from services.payment.domain import Price
from solo60.payment.v1.payment_pb2 import (
    PAYMENT_STATUS_CAPTURED,
    PAYMENT_STATUS_PENDING,
    PAYMENT_STATUS_REFUNDED,
    PAYMENT_STATUS_VOIDED,
    REFUND_OUTCOME_REFUNDED,
    REFUND_OUTCOME_VOIDED,
    ChargeSessionRequest,
    ListSessionPaymentsRequest,
)
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from tests.services.payment.card_connection import ConnectionHooks, FaultyCardProcessor, Gate, let_pass, lose_the_call
from tests.services.payment.ledger_queries import count, net_card_charges
from tests.services.payment.requests import BY_CARD, PENCE, balance, charge, credit_back, refund
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from mesh.data.database import Database
    from solo60.payment.v1.payment_pb2 import Payment
    from solo60.payment.v1.payment_pb2_grpc import PaymentServiceAsyncStub
    from tests.support.serving import MeshForTests, Serve

PRICE = Price("GBP", PENCE, 3)


@pytest.fixture
def hooks() -> ConnectionHooks:
    """Return the hooks of a working connection, which a test may break."""
    return ConnectionHooks()


@pytest.fixture
async def mesh(serve: Serve, hooks: ConnectionHooks) -> MeshForTests:
    """Serve payment with a card company behind a connection with `hooks`."""
    return await serve(payment_service(lambda database: FaultyCardProcessor(database, hooks)))


@pytest.fixture
def payments(mesh: MeshForTests) -> PaymentServiceAsyncStub:
    """Return a stub of payment with every scope."""
    return mesh.stub(PaymentServiceStub)


async def stored(payments: PaymentServiceAsyncStub, request: ChargeSessionRequest) -> Payment:
    """Return the one payment of a session as stored now."""
    answer = await payments.ListSessionPayments(ListSessionPaymentsRequest(session_id=request.session_id))
    return answer.payments[0]


async def pending_charge(
    payments: PaymentServiceAsyncStub, hooks: ConnectionHooks, *, arrives: bool
) -> ChargeSessionRequest:
    """Charge a session, lose the call to the company or the answer, then restore the connection."""
    request = charge(BY_CARD)
    if arrives:
        hooks.after_charge = lose_the_call
    else:
        hooks.before_charge = lose_the_call
    with pytest.raises(Unavailable):
        await payments.ChargeSession(request)
    hooks.before_charge = hooks.after_charge = let_pass
    assert (await stored(payments, request)).status == PAYMENT_STATUS_PENDING
    return request


@pytest.mark.parametrize("arrives", [True, False], ids=["answer lost", "call lost"])
async def test_a_repetition_finishes_a_pending_charge(
    payments: PaymentServiceAsyncStub,
    mesh: MeshForTests,
    hooks: ConnectionHooks,
    arrives: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """Repeating a charge after its call or answer was lost captures the payment and charges the card once."""
    request = await pending_charge(payments, hooks, arrives=arrives)

    payment = (await payments.ChargeSession(request)).payment

    assert payment.status == PAYMENT_STATUS_CAPTURED
    assert await net_card_charges(mesh.database("payment")) == PENCE


@pytest.mark.requirement("J6")
async def test_a_refund_returns_the_money_of_a_charge_with_a_lost_answer(
    payments: PaymentServiceAsyncStub, mesh: MeshForTests, hooks: ConnectionHooks
) -> None:
    """A refund returns the money of a captured charge after its answer was lost, without a repeated charge."""
    request = await pending_charge(payments, hooks, arrives=True)

    answer = await payments.RefundSession(refund(request))

    assert answer.outcome == REFUND_OUTCOME_REFUNDED
    assert answer.payment.status == PAYMENT_STATUS_REFUNDED
    assert await net_card_charges(mesh.database("payment")) == 0


@pytest.mark.requirement("J6")
async def test_a_refund_voids_a_charge_that_never_arrived(
    payments: PaymentServiceAsyncStub, mesh: MeshForTests, hooks: ConnectionHooks
) -> None:
    """A refund voids a charge that never reached the company, and a repetition of the charge is rejected."""
    request = await pending_charge(payments, hooks, arrives=False)

    answer = await payments.RefundSession(refund(request))

    assert answer.outcome == REFUND_OUTCOME_VOIDED
    assert answer.payment.status == PAYMENT_STATUS_VOIDED
    with pytest.raises(PaymentVoided):
        await payments.ChargeSession(request)
    assert await net_card_charges(mesh.database("payment")) == 0


async def test_a_credit_back_of_a_lost_charge_returns_the_money(
    payments: PaymentServiceAsyncStub, mesh: MeshForTests, hooks: ConnectionHooks
) -> None:
    """A credit-back returns a captured charge to the card, and raises PaymentNotFound for one that took nothing."""
    captured = await pending_charge(payments, hooks, arrives=True)
    voided = await pending_charge(payments, hooks, arrives=False)

    payment = (await payments.CreditBackSession(credit_back(captured))).payment
    with pytest.raises(PaymentNotFound):
        await payments.CreditBackSession(credit_back(voided))

    assert payment.refund.money == captured.price
    assert payment.refund.reason == "gym closed"
    assert (await stored(payments, voided)).status == PAYMENT_STATUS_VOIDED
    assert await net_card_charges(mesh.database("payment")) == 0


@pytest.mark.requirement("J6")
@pytest.mark.parametrize("arrives", [True, False], ids=["answer lost", "call lost"])
async def test_an_interrupted_refund_is_finished_by_the_next_call(
    payments: PaymentServiceAsyncStub,
    mesh: MeshForTests,
    hooks: ConnectionHooks,
    arrives: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """A repeated refund or a credit-back finishes an interrupted refund without giving back twice.

    Until then a charge is rejected.
    """
    request, other = charge(BY_CARD), charge(BY_CARD)
    if arrives:
        hooks.after_refund = lose_the_call
    else:
        hooks.before_refund = lose_the_call
    for each in (request, other):
        await payments.ChargeSession(each)
        with pytest.raises(Unavailable):
            await payments.RefundSession(refund(each))
        with pytest.raises(PaymentVoided):
            await payments.ChargeSession(each)
    hooks.before_refund = hooks.after_refund = let_pass

    refunded = await payments.RefundSession(refund(request, "asked again"))
    credited = await payments.CreditBackSession(credit_back(other))

    for payment in (refunded.payment, credited.payment):
        assert payment.refund.money == request.price
        assert payment.refund.reason == "session cancelled"
    assert await balance(payments, other.user_id) == 0
    assert await net_card_charges(mesh.database("payment")) == 0


@pytest.mark.requirement("J6")
async def test_a_refund_overtakes_the_call_of_a_charge(
    payments: PaymentServiceAsyncStub, mesh: MeshForTests, hooks: ConnectionHooks
) -> None:
    """A charge that reaches the company after its refund takes no money, and its caller gets PaymentVoided."""
    gate = hooks.before_charge = Gate()
    request = charge(BY_CARD)
    charging = asyncio.ensure_future(payments.ChargeSession(request))
    await gate.reached.wait()

    answer = await payments.RefundSession(refund(request))
    gate.opened.set()

    assert answer.outcome == REFUND_OUTCOME_VOIDED
    with pytest.raises(PaymentVoided):
        await charging
    assert await net_card_charges(mesh.database("payment")) == 0


@pytest.mark.requirement("J6")
async def test_a_refund_overtakes_the_answer_to_a_charge(
    payments: PaymentServiceAsyncStub, mesh: MeshForTests, hooks: ConnectionHooks
) -> None:
    """A refund during the answer to a charge returns the money, and the charge's caller gets PaymentVoided."""
    gate = hooks.after_charge = Gate()
    request = charge(BY_CARD)
    charging = asyncio.ensure_future(payments.ChargeSession(request))
    await gate.reached.wait()

    answer = await payments.RefundSession(refund(request))
    gate.opened.set()

    assert answer.outcome == REFUND_OUTCOME_REFUNDED
    with pytest.raises(PaymentVoided):
        await charging
    assert await net_card_charges(mesh.database("payment")) == 0


@pytest.mark.requirement("J6")
async def test_a_charge_refunds_itself_if_the_refund_was_interrupted(
    payments: PaymentServiceAsyncStub, mesh: MeshForTests, hooks: ConnectionHooks
) -> None:
    """A charge returns its own money and raises PaymentVoided if an interrupted refund has voided its session."""
    gate = hooks.after_charge = Gate()
    request = charge(BY_CARD)
    charging = asyncio.ensure_future(payments.ChargeSession(request))
    await gate.reached.wait()
    hooks.before_refund = lose_the_call
    with pytest.raises(Unavailable):
        await payments.RefundSession(refund(request))
    hooks.before_refund = let_pass

    gate.opened.set()

    with pytest.raises(PaymentVoided):
        await charging
    assert (await stored(payments, request)).status == PAYMENT_STATUS_REFUNDED
    assert await net_card_charges(mesh.database("payment")) == 0


@pytest.mark.parametrize("step", ["charge", "return"])
async def test_no_transaction_is_open_during_a_call_to_the_card_company(
    payments: PaymentServiceAsyncStub, mesh: MeshForTests, hooks: ConnectionHooks, step: str
) -> None:
    """A slow card company blocks no row and no connection, because no transaction is open during its calls."""
    request = charge(BY_CARD)
    gate = Gate()
    if step == "charge":
        hooks.before_charge = gate
        asking: asyncio.Future[object] = asyncio.ensure_future(payments.ChargeSession(request))
    else:
        await payments.ChargeSession(request)
        hooks.before_refund = gate
        asking = asyncio.ensure_future(payments.RefundSession(refund(request)))
    await gate.reached.wait()

    async def nothing_is_open() -> bool:
        # Other work of the service ends quickly; a transaction of the call would stay open.
        async with mesh.database("payment").connection() as connection:
            states = await connection.fetch(
                "select state from pg_stat_activity"
                " where datname = current_database() and usename = current_user and pid <> pg_backend_pid()"
            )
        return {row["state"] for row in states} == {"idle"}

    await eventually(nothing_is_open)
    gate.opened.set()
    await asking


@pytest.mark.requirement("S4")
async def test_the_card_token_is_stored_nowhere(payments: PaymentServiceAsyncStub, mesh: MeshForTests) -> None:
    """After a charge no table of payment contains the card token."""
    await payments.ChargeSession(charge(BY_CARD))

    async with mesh.database("payment").connection() as connection:
        tables = await connection.fetch("select tablename from pg_tables where schemaname = 'public'")
        queries = [f"select t::text from {table[0]} as t" for table in tables]  # noqa: S608 - a name from the catalog
        texts = [row[0] for query in queries for row in await connection.fetch(query)]
    assert any("CAPTURED" in text.upper() for text in texts)
    assert [text for text in texts if "tok_visa" in text] == []


async def test_the_test_mode_records_survive_a_restart(database: Database) -> None:
    """A second test-mode processor on the same database gives the same answer for every key as the first."""
    first = TestModeProcessor(database)
    assert await first.charge("good", "tok_visa", PRICE) is CardOutcome.CAPTURED
    assert await first.charge("bad", "tok_declined", PRICE) is CardOutcome.DECLINED
    assert not await first.refund("early")

    second = TestModeProcessor(database)
    assert await second.charge("good", "tok_declined", PRICE) is CardOutcome.CAPTURED
    assert await second.charge("bad", "tok_visa", PRICE) is CardOutcome.DECLINED
    assert await second.charge("early", "tok_visa", PRICE) is CardOutcome.CALLED_OFF
    assert [await second.refund(key) for key in ("good", "good", "bad", "early")] == [True, True, False, False]
    assert await count(database, "card_charges") == 3
    assert await net_card_charges(database) == 0
