"""Payment's ledger compared with a model, after random sequential and concurrent steps."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID, uuid4, uuid5

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from contracts.errors import ServiceError
from mesh.data.database import Database
from services.payment.domain import CREDIT, ChargeOrder, PaymentMethod, PaymentStatus, Price
from services.payment.refunds.domain import PartialRefund
from services.payment.store import PaymentStore
from tests.services.payment.cashiers import NOON, balance, cashier_of, expire, grant
from tests.services.payment.ledger_model import CREDITS, NEVER, PENCE, SESSIONS, Model, Observation, Step, outcomes
from tests.services.payment.ledger_queries import company_account_sum, net_card_charges, violations

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from services.payment.cashier import Cashier
    from services.payment.domain import Payment, PaymentState

LIFETIMES_IN_DAYS = st.sampled_from([0, 1, 2, 40])
STEP = st.builds(
    Step,
    st.sampled_from(["grant", "grant", "credits", "credits", "card", "refund", "credit_back", "expire", "advance"]),
    st.integers(0, SESSIONS - 1),
    st.sampled_from(["tok_visa", "tok_visa", "tok_declined"]),
    st.integers(1, 2 * CREDITS),
    LIFETIMES_IN_DAYS,
)
# The model does not know partial refunds.
STEP_OR_PART = STEP | st.builds(
    Step,
    st.sampled_from(["part in credits", "part by card"]),
    st.integers(0, SESSIONS - 1),
    st.just(""),
    st.sampled_from([1, 2, CREDITS, PENCE]),
)
# All concurrent steps use one session and a valid card, so that they conflict.
CONCURRENT_STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from(["credits", "card", "refund", "credit_back", "grant", "expire"]),
        st.just(0),
        st.just("tok_visa"),
        st.just(CREDITS),
        LIFETIMES_IN_DAYS,
    ),
    min_size=2,
    max_size=3,
)
# A failing example is printed and can be pasted, so Hypothesis needs no database of examples. All examples share one
# database, but each has its own users and sessions.
BOUNDED = settings(
    max_examples=40, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
VALID_LOTS = """
    select coalesce(expire_time, $3) as expire_time, sum(remaining)::bigint as credits
    from lots join accounts using (account_id)
    where user_id = $1 and remaining > 0 and coalesce(expire_time > $2, true) group by 1
"""


@dataclass(slots=True)
class Members:
    """Two members and their sessions, unknown to payment, at a time that steps advance."""

    database: Database
    now: datetime = NOON
    users: list[UUID] = field(default_factory=lambda: [uuid4(), uuid4()])
    sessions: list[UUID] = field(default_factory=lambda: [uuid4() for _ in range(SESSIONS)])

    @property
    def cashier(self) -> Cashier:
        """The cashier at the present time."""
        return cashier_of(self.database, lambda: self.now)

    async def apply(self, step: Step) -> Payment | int | ServiceError | None:
        """Carry out a step and return payment's answer, or None if the step only moves the clock."""
        if step.operation == "advance":
            self.now += timedelta(days=step.days)
            return None
        try:
            return await self._call(step)
        except ServiceError as error:
            return error

    async def _call(self, step: Step) -> Payment | int | None:
        session_id, user_id = self.sessions[step.session], self.users[step.session % 2]
        match step.operation:
            case "expire":
                return await expire(self.database, user_id, self.now)
            case "grant":
                expire_time = self.now + timedelta(days=step.days) if step.days else None
                return await grant(self.database, user_id, step.amount, expire_time, self.now)
            case "credits" | "card":
                price = Price("GBP", PENCE, CREDITS)
                order = ChargeOrder(session_id, user_id, price, PaymentMethod(step.operation))
                return await self.cashier.charge(order, step.token)
            case "part in credits" | "part by card":
                method = PaymentMethod.CARD if step.operation.endswith("card") else PaymentMethod.CREDITS
                currency = "GBP" if method is PaymentMethod.CARD else CREDIT
                # Steps with the same session and amount are the same refund.
                refund_id = uuid5(session_id, f"{method} {step.amount}")
                part = PartialRefund(session_id, refund_id, method, currency, step.amount, "broken shower")
                return await self.cashier.refund_part(part)
            case "refund":
                return await self.cashier.refund(session_id, "session cancelled")
            case _:
                return await self.cashier.credit_back(session_id, "gym closed")

    async def observe(self) -> Observation:
        """Read the state of the sessions, and the valid credits of the members by expiry."""
        async with PaymentStore(self.database).transaction() as ledger:
            sessions = [await ledger.lock_session(session_id) for session_id in self.sessions]
            rows = [await ledger.connection.fetch(VALID_LOTS, user, self.now, NEVER) for user in self.users]
        states = {number: state for number, session in enumerate(sessions) if (state := state_of(session))}
        return Observation(
            states, {user: {row["expire_time"]: row["credits"] for row in rows[user]} for user in (0, 1)}
        )


class LedgerMachine(RuleBasedStateMachine):
    """State machine with two members and three sessions, called by one caller or by several at once."""

    url: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.Runner()
        self._database = self._await(Database.connect(self.url, max_connections=6))
        self.members, self.model = Members(self._database), Model()

    def teardown(self) -> None:
        """Close the connection for the next example."""
        self._await(self._database.close())
        self._loop.close()

    @rule(step=STEP)
    def one(self, step: Step) -> None:
        """Carry out one step and expect the model's answer."""
        expected = self.model.apply(step)
        answer = self._await(self.members.apply(step))
        assert (type(answer) if isinstance(answer, ServiceError) else None) is expected

    @rule(session=st.integers(0, SESSIONS - 1), steps=CONCURRENT_STEPS)
    def several_at_once(self, session: int, steps: list[Step]) -> None:
        """Carry out concurrent steps on one session and expect one of the possible states."""
        racing = [replace(step, session=session) for step in steps]
        possible = outcomes(self.model, racing)
        self._await(self._race(racing))
        actual = self._await(self.members.observe())
        matching = [model for model in possible if model.observation() == actual]
        assert matching, actual
        self.model = matching[0]

    @invariant()
    def the_ledger_agrees_with_the_model(self) -> None:
        """Compare sessions, credits and card charges with the model, and expect no violated invariant."""
        expected = self.model.observation()
        assert self._await(self.members.observe()) == expected
        for user, lots in expected.lots.items():
            assert self._await(balance(self._database, self.members.users[user], self.members.now)) == sum(
                lots.values()
            )
        assert self._await(violations(self._database)) == set()
        assert self._await(net_card_charges(self._database)) == -self._await(
            company_account_sum(self._database, "cards", "GBP")
        )

    async def _race(self, steps: list[Step]) -> None:
        await asyncio.gather(*map(self.members.apply, steps))

    def _await(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run(work)


def state_of(session: PaymentState) -> str:
    """Return the state of a session in the model's terms."""
    if session.payment is None:
        return "void" if session.is_void else ""
    if session.payment.status is PaymentStatus.CAPTURED:
        return str(session.payment.order.payment_method)
    return {PaymentStatus.DECLINED: "declined", PaymentStatus.VOIDED: "void", PaymentStatus.REFUNDED: "refunded"}[
        session.payment.status
    ]


@pytest.mark.parametrize("examples", [6, pytest.param(100, marks=pytest.mark.soak)])
def test_sequential_and_concurrent_steps_agree_with_the_model(payment_url: str, examples: int) -> None:
    """Answers, sessions and credits by expiry agree with the model after steps in any order, some concurrent."""
    machine = type("Machine", (LedgerMachine,), {"url": payment_url})

    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=15, database=None))


@BOUNDED
@given(steps=st.lists(STEP_OR_PART, max_size=14))
async def test_concurrent_steps_leave_a_sound_ledger(database: Database, steps: list[Step]) -> None:
    """Up to 14 concurrent steps break no invariant, leave no payment pending and agree with the card company's sum."""
    members = Members(database)

    await asyncio.gather(*map(members.apply, steps))

    assert await violations(database) == set()
    assert await net_card_charges(database) == -await company_account_sum(database, "cards", "GBP")
    for session_id in members.sessions:
        payments = await PaymentStore(database).payments_of_session(session_id, 2, after=None)
        assert all(payment.status is not PaymentStatus.PENDING for payment in payments)
