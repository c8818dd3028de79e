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
from tests.services.payment.card_line import DistantProcessor, Gate, Line, lose_the_call, nothing
from tests.services.payment.ledger import count, held_by_cards
from tests.services.payment.requests import BY_CARD, PENCE, balance, charge, credit_back, refund
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from mesh.database import Database
    from solo60.payment.v1.payment_pb2 import Payment
    from solo60.payment.v1.payment_pb2_grpc import PaymentServiceAsyncStub
    from tests.support.serving import MeshForTests, Serve

PRICE = Price("GBP", PENCE, 3)


@pytest.fixture
def line() -> Line:
    """Make a line that works, until a test breaks it."""
    return Line()


@pytest.fixture
async def mesh(serve: Serve, line: Line) -> MeshForTests:
    """Serve payment with a card company at the end of `line`."""
    return await serve(payment_service(lambda database: DistantProcessor(database, line)))


@pytest.fixture
def payments(mesh: MeshForTests) -> PaymentServiceAsyncStub:
    """Call payment with every scope."""
    return mesh.stub(PaymentServiceStub)


async def stored(payments: PaymentServiceAsyncStub, request: ChargeSessionRequest) -> Payment:
    """Return the one payment of a session as it stands now."""
    answer = await payments.ListSessionPayments(ListSessionPaymentsRequest(session_id=request.session_id))
    return answer.payments[0]


async def left_pending(payments: PaymentServiceAsyncStub, line: Line, *, arrives: bool) -> ChargeSessionRequest:
    """Charge a session and lose the company's answer, or the call to it; then repair the line."""
    request = charge(BY_CARD)
    if arrives:
        line.after_charge = lose_the_call
    else:
        line.before_charge = lose_the_call
    with pytest.raises(Unavailable):
        await payments.ChargeSession(request)
    line.before_charge = line.after_charge = nothing
    assert (await stored(payments, request)).status == PAYMENT_STATUS_PENDING
    return request


@pytest.mark.parametrize("arrives", [True, False], ids=["answer lost", "call lost"])
async def test_a_repetition_finishes_a_pending_charge(
    payments: PaymentServiceAsyncStub,
    mesh: MeshForTests,
    line: Line,
    arrives: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """A charge of which nobody knows is asked about with the same key, and taken once."""
    request = await left_pending(payments, line, arrives=arrives)

    payment = (await payments.ChargeSession(request)).payment

    assert payment.status == PAYMENT_STATUS_CAPTURED
    assert await held_by_cards(mesh.database("payment")) == PENCE


@pytest.mark.requirement("J6")
async def test_a_refund_gives_back_what_a_lost_charge_took(
    payments: PaymentServiceAsyncStub, mesh: MeshForTests, line: Line
) -> None:
    """The charge's caller died with the answer; the refund alone brings the money back."""
    request = await left_pending(payments, line, arrives=True)

    answer = await payments.RefundSession(refund(request))

    assert answer.outcome == REFUND_OUTCOME_REFUNDED
    assert answer.payment.status == PAYMENT_STATUS_REFUNDED
    assert await held_by_cards(mesh.database("payment")) == 0


@pytest.mark.requirement("J6")
async def test_a_refund_calls_off_a_charge_that_never_arrived(
    payments: PaymentServiceAsyncStub, mesh: MeshForTests, line: Line
) -> None:
    """The payment is voided, and the charge stays refused when it comes again."""
    request = await left_pending(payments, line, arrives=False)

    answer = await payments.RefundSession(refund(request))

    assert answer.outcome == REFUND_OUTCOME_VOIDED
    assert answer.payment.status == PAYMENT_STATUS_VOIDED
    with pytest.raises(PaymentVoided):
        await payments.ChargeSession(request)
    assert await held_by_cards(mesh.database("payment")) == 0


async def test_a_credit_back_of_a_lost_charge_leaves_nothing_taken(
    payments: PaymentServiceAsyncStub, mesh: MeshForTests, line: Line
) -> None:
    """What the charge took goes back to the card; where it took nothing, there is no payment to credit."""
    taken = await left_pending(payments, line, arrives=True)
    not_taken = await left_pending(payments, line, arrives=False)

    payment = (await payments.CreditBackSession(credit_back(taken))).payment
    with pytest.raises(PaymentNotFound):
        await payments.CreditBackSession(credit_back(not_taken))

    assert payment.refund.money == taken.price
    assert payment.refund.reason == "gym closed"
    assert (await stored(payments, not_taken)).status == PAYMENT_STATUS_VOIDED
    assert await held_by_cards(mesh.database("payment")) == 0


@pytest.mark.requirement("J6")
@pytest.mark.parametrize("arrives", [True, False], ids=["answer lost", "call lost"])
async def test_a_refund_that_lost_the_company_is_finished_by_the_next_call(
    payments: PaymentServiceAsyncStub,
    mesh: MeshForTests,
    line: Line,
    arrives: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """Until then the session takes no charge, and a credit-back does not give a second time."""
    request, other = charge(BY_CARD), charge(BY_CARD)
    if arrives:
        line.after_return = lose_the_call
    else:
        line.before_return = lose_the_call
    for each in (request, other):
        await payments.ChargeSession(each)
        with pytest.raises(Unavailable):
            await payments.RefundSession(refund(each))
        with pytest.raises(PaymentVoided):
            await payments.ChargeSession(each)
    line.before_return = line.after_return = nothing

    refunded = await payments.RefundSession(refund(request, "asked again"))
    credited = await payments.CreditBackSession(credit_back(other))

    for payment in (refunded.payment, credited.payment):
        assert payment.refund.money == request.price
        assert payment.refund.reason == "session cancelled"
    assert await balance(payments, other.user_id) == 0
    assert await held_by_cards(mesh.database("payment")) == 0


@pytest.mark.requirement("J6")
async def test_a_refund_overtakes_a_charge_on_its_way_to_the_company(
    payments: PaymentServiceAsyncStub, mesh: MeshForTests, line: Line
) -> None:
    """The charge arrives called off, and its caller learns that the payment is void."""
    gate = line.before_charge = Gate()
    request = charge(BY_CARD)
    charging = asyncio.ensure_future(payments.ChargeSession(request))
    await gate.reached.wait()

    answer = await payments.RefundSession(refund(request))
    gate.opened.set()

    assert answer.outcome == REFUND_OUTCOME_VOIDED
    with pytest.raises(PaymentVoided):
        await charging
    assert await held_by_cards(mesh.database("payment")) == 0


@pytest.mark.requirement("J6")
async def test_a_refund_overtakes_a_charge_on_its_way_back(
    payments: PaymentServiceAsyncStub, mesh: MeshForTests, line: Line
) -> None:
    """The money was taken and is returned, and the charge's caller learns that the payment is void."""
    gate = line.after_charge = Gate()
    request = charge(BY_CARD)
    charging = asyncio.ensure_future(payments.ChargeSession(request))
    await gate.reached.wait()

    answer = await payments.RefundSession(refund(request))
    gate.opened.set()

    assert answer.outcome == REFUND_OUTCOME_REFUNDED
    with pytest.raises(PaymentVoided):
        await charging
    assert await held_by_cards(mesh.database("payment")) == 0


@pytest.mark.requirement("J6")
async def test_a_charge_refunds_itself_when_the_refund_could_not(
    payments: PaymentServiceAsyncStub, mesh: MeshForTests, line: Line
) -> None:
    """The refund left word that the session is void and lost the company; the charge under way sees to it."""
    gate = line.after_charge = Gate()
    request = charge(BY_CARD)
    charging = asyncio.ensure_future(payments.ChargeSession(request))
    await gate.reached.wait()
    line.before_return = lose_the_call
    with pytest.raises(Unavailable):
        await payments.RefundSession(refund(request))
    line.before_return = nothing

    gate.opened.set()

    with pytest.raises(PaymentVoided):
        await charging
    assert (await stored(payments, request)).status == PAYMENT_STATUS_REFUNDED
    assert await held_by_cards(mesh.database("payment")) == 0


@pytest.mark.parametrize("step", ["charge", "return"])
async def test_no_transaction_is_open_while_the_company_is_asked(
    payments: PaymentServiceAsyncStub, mesh: MeshForTests, line: Line, step: str
) -> None:
    """A slow company holds no row and no connection."""
    request = charge(BY_CARD)
    gate = Gate()
    if step == "charge":
        line.before_charge = gate
        asking: asyncio.Future[object] = asyncio.ensure_future(payments.ChargeSession(request))
    else:
        await payments.ChargeSession(request)
        line.before_return = gate
        asking = asyncio.ensure_future(payments.RefundSession(refund(request)))
    await gate.reached.wait()

    async def nothing_is_open() -> bool:
        # What the relay and others do beside calls is over in a moment; what a call holds would last.
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
async def test_the_card_token_is_kept_nowhere(payments: PaymentServiceAsyncStub, mesh: MeshForTests) -> None:
    """It goes to the card company and no further."""
    await payments.ChargeSession(charge(BY_CARD))

    async with mesh.database("payment").connection() as connection:
        tables = await connection.fetch("select tablename from pg_tables where schemaname = 'public'")
        for table in tables:
            rows = await connection.fetch(f"select t::text from {table[0]} as t")  # noqa: S608 - a name from the catalog
            assert not any("tok_visa" in row[0] for row in rows)


async def test_the_books_of_test_mode_outlive_the_process(database: Database) -> None:
    """Another process answers every key as the first did."""
    first = TestModeProcessor(database)
    assert await first.charge("good", "tok_visa", PRICE) is CardOutcome.CAPTURED
    assert await first.charge("bad", "tok_declined", PRICE) is CardOutcome.DECLINED
    assert not await first.give_back("early")

    second = TestModeProcessor(database)
    assert await second.charge("good", "tok_declined", PRICE) is CardOutcome.CAPTURED
    assert await second.charge("bad", "tok_visa", PRICE) is CardOutcome.DECLINED
    assert await second.charge("early", "tok_visa", PRICE) is CardOutcome.CALLED_OFF
    assert [await second.give_back(key) for key in ("good", "good", "bad", "early")] == [True, True, False, False]
    assert await count(database, "card_charges") == 3
    assert await held_by_cards(database) == 0
