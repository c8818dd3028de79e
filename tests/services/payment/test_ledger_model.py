"""Model test of payment: random steps, one by one or concurrent, must agree with a small model of the rules."""

from __future__ import annotations

import asyncio
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import permutations, product
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from contracts.errors import (
    AlreadyCharged,
    CardDeclined,
    InsufficientCredits,
    PaymentNotFound,
    PaymentVoided,
    ServiceError,
)
from mesh.data.database import Database
from services.payment.cards import TestModeProcessor
from services.payment.cashier import Cashier
from services.payment.domain import ChargeOrder, PaymentMethod, PaymentStatus, Price
from services.payment.store import PaymentStore
from tests.services.payment.ledger_queries import company_account_sum, net_card_charges, violations

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from services.payment.domain import Payment, PaymentState

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
SESSIONS = 3
CREDITS, PENCE = 3, 1250


@dataclass(frozen=True, slots=True)
class Step:
    """One call to payment. `operation` names the operation, and the parity of `session` selects the member."""

    operation: str
    session: int
    token: str = ""
    amount: int = 0


STEP = st.builds(
    Step,
    st.sampled_from(["grant", "credits", "card", "card", "refund", "credit_back"]),
    st.integers(0, SESSIONS - 1),
    st.sampled_from(["tok_visa", "tok_visa", "tok_declined"]),
    st.integers(1, 2 * CREDITS),
)
# All concurrent steps use one session and a valid card, so that they conflict.
CONCURRENT_STEPS = st.lists(
    st.builds(Step, st.sampled_from(["credits", "card", "refund", "credit_back"]), st.just(0), st.just("tok_visa")),
    min_size=2,
    max_size=3,
)
# A failing example is printed and can be pasted, so Hypothesis needs no database of examples. All examples share one
# database, but each has its own users and sessions.
BOUNDED = settings(
    max_examples=40, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@dataclass(slots=True)
class Members:
    """Two members and their sessions, unknown to payment."""

    store: PaymentStore
    cashier: Cashier
    users: list[UUID] = field(default_factory=lambda: [uuid4(), uuid4()])
    sessions: list[UUID] = field(default_factory=lambda: [uuid4() for _ in range(SESSIONS)])

    async def apply(self, step: Step) -> Payment | int | ServiceError | None:
        """Carry out a step and return payment's answer."""
        session_id, user_id = self.sessions[step.session], self.users[step.session % 2]
        order = ChargeOrder(session_id, user_id, Price("GBP", PENCE, CREDITS), PaymentMethod.CARD)
        try:
            match step.operation:
                case "grant":
                    return await grant(self.database, user_id, step.amount)
                case "credits":
                    return await self.cashier.charge(
                        ChargeOrder(session_id, user_id, order.price, PaymentMethod.CREDITS), ""
                    )
                case "card":
                    return await self.cashier.charge(order, step.token)
                case "refund":
                    return await self.cashier.refund(session_id, "session cancelled")
                case _:
                    return await self.cashier.credit_back(session_id, "gym closed")
        except ServiceError as error:
            return error


@dataclass(slots=True)
class Model:
    """Expected state after the steps. `states` holds the state of each session that has one."""

    states: dict[int, str] = field(default_factory=dict)
    credits: dict[int, int] = field(default_factory=lambda: {0: 0, 1: 0})

    def apply(self, step: Step) -> type[ServiceError] | None:
        """Apply a step and return the expected error."""
        user, state = step.session % 2, self.states.get(step.session, "")
        match step.operation:
            case "grant":
                self.credits[user] += step.amount
                return None
            case "credits" | "card":
                return self._charge(step, user, state)
            case "refund":
                self.states[step.session] = {"": "void", "card": "refunded", "credits": "refunded"}.get(state, state)
                self.credits[user] += CREDITS if state == "credits" else 0
                return None
            case _:
                if state in {"card", "credits"}:
                    self.states[step.session] = "refunded"
                    self.credits[user] += CREDITS
                return PaymentNotFound if state in {"", "void", "declined"} else None

    def _charge(self, step: Step, user: int, state: str) -> type[ServiceError] | None:
        if state:
            other = AlreadyCharged if state != step.operation else None
            return {"declined": CardDeclined, "void": PaymentVoided, "refunded": PaymentVoided}.get(state, other)
        if step.operation == "card":
            is_good = step.token == "tok_visa"  # noqa: S105 - a test card
            self.states[step.session] = "card" if is_good else "declined"
            return None if is_good else CardDeclined
        if self.credits[user] < CREDITS:
            return InsufficientCredits
        self.states[step.session] = "credits"
        self.credits[user] -= CREDITS
        return None


def new_members(database: Database) -> Members:
    """Return new members on a ledger that may hold data of earlier examples."""
    store = PaymentStore(database)
    return Members(store, Cashier(store, TestModeProcessor(database), lambda: NOON))


def outcomes(model: Model, steps: list[Step]) -> list[Model]:
    """Return the possible states after concurrent steps: the results of every order.

    A credit-back that finds a card charge in progress cancels that charge like a refund, so this variant is included.
    """
    charged = {step.session for step in steps if step.operation == "card"}
    choices = [
        [step, replace(step, operation="refund")]
        if step.operation == "credit_back" and step.session in charged
        else [step]
        for step in steps
    ]
    models = []
    for chosen in product(*choices):
        for order in permutations(chosen):
            after = deepcopy(model)
            for step in order:
                after.apply(step)
            models.append(after)
    return models


class LedgerMachine(RuleBasedStateMachine):
    """State machine with two members and three sessions, called by one caller or by several at once."""

    url: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.Runner()
        self._database = self._await(Database.connect(self.url, max_connections=6))
        self.members, self.model = new_members(self._database), Model()

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
        actual = self._await(self._read_state())
        assert actual in possible
        self.model = actual

    @invariant()
    def the_ledger_agrees_with_the_model(self) -> None:
        """Compare sessions, balances and card charges with the model, and expect no violated invariant."""
        assert self._await(self._read_state()) == self.model
        assert self._await(violations(self._database)) == set()
        assert self._await(net_card_charges(self._database)) == -self._await(
            company_account_sum(self._database, "cards", "GBP")
        )

    async def _race(self, steps: list[Step]) -> None:
        await asyncio.gather(*map(self.members.apply, steps))

    async def _read_state(self) -> Model:
        async with self.members.store.transaction() as ledger:
            sessions = [await ledger.lock_session(session_id) for session_id in self.members.sessions]
        states = {number: state for number, session in enumerate(sessions) if (state := state_of(session))}
        return Model(states, {user: await self.members.store.balance(self.members.users[user]) for user in (0, 1)})

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
    """Answers, sessions and balances agree with the model after sequential and concurrent steps in any order."""
    machine = type("Machine", (LedgerMachine,), {"url": payment_url})

    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=15, database=None))


@BOUNDED
@given(steps=st.lists(STEP, max_size=14))
async def test_concurrent_steps_leave_a_sound_ledger(database: Database, steps: list[Step]) -> None:
    """Up to 14 concurrent steps break no invariant, leave no payment pending and agree with the card company's sum."""
    members = new_members(database)

    await asyncio.gather(*map(members.apply, steps))

    assert await violations(database) == set()
    assert await net_card_charges(database) == -await company_account_sum(database, "cards", "GBP")
    for session_id in members.sessions:
        payments = await members.store.payments_of_session(session_id, 2, after=None)
        assert all(payment.status is not PaymentStatus.PENDING for payment in payments)
