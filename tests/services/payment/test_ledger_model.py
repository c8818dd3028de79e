"""Model test of payment: random steps, one by one or concurrent, must agree with a small model of the rules."""

from __future__ import annotations

import asyncio
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import permutations, product
from operator import methodcaller
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
from services.payment.domain import Means, Order, Price, Status
from services.payment.store import PaymentStore
from tests.services.payment.ledger import held_by_cards, house_sum, violations

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from services.payment.domain import Payment, Session

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
SESSIONS = 3
CREDITS, PENCE = 3, 1250


@dataclass(frozen=True, slots=True)
class Step:
    """One call to payment. `verb` names the operation, and the parity of `session` selects the member."""

    verb: str
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
RACERS = st.lists(
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
class Club:
    """Two members and their sessions, unknown to payment."""

    store: PaymentStore
    cashier: Cashier
    users: list[UUID] = field(default_factory=lambda: [uuid4(), uuid4()])
    sessions: list[UUID] = field(default_factory=lambda: [uuid4() for _ in range(SESSIONS)])

    async def take(self, step: Step) -> Payment | int | ServiceError | None:
        """Carry out a step and return payment's answer."""
        session_id, user_id = self.sessions[step.session], self.users[step.session % 2]
        order = Order(session_id, user_id, Price("GBP", PENCE, CREDITS), Means.CARD)
        try:
            match step.verb:
                case "grant":
                    return await self.store.run(
                        lambda books: self.cashier.grant(books, user_id, step.amount, "goodwill")
                    )
                case "credits":
                    return await self.cashier.charge(Order(session_id, user_id, order.price, Means.CREDITS), "")
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
    """Expected state after the steps. `ends` holds the state of each session that has one."""

    ends: dict[int, str] = field(default_factory=dict)
    credits: dict[int, int] = field(default_factory=lambda: {0: 0, 1: 0})

    def take(self, step: Step) -> type[ServiceError] | None:
        """Apply a step and return the expected error."""
        user, end = step.session % 2, self.ends.get(step.session, "")
        match step.verb:
            case "grant":
                self.credits[user] += step.amount
                return None
            case "credits" | "card":
                return self._charge(step, user, end)
            case "refund":
                self.ends[step.session] = {"": "void", "card": "back", "credits": "back"}.get(end, end)
                self.credits[user] += CREDITS if end == "credits" else 0
                return None
            case _:
                if end in {"card", "credits"}:
                    self.ends[step.session] = "back"
                    self.credits[user] += CREDITS
                return PaymentNotFound if end in {"", "void", "declined"} else None

    def _charge(self, step: Step, user: int, end: str) -> type[ServiceError] | None:
        if end:
            other = AlreadyCharged if end != step.verb else None
            return {"declined": CardDeclined, "void": PaymentVoided, "back": PaymentVoided}.get(end, other)
        if step.verb == "card":
            is_good = step.token == "tok_visa"  # noqa: S105 - a test card
            self.ends[step.session] = "card" if is_good else "declined"
            return None if is_good else CardDeclined
        if self.credits[user] < CREDITS:
            return InsufficientCredits
        self.ends[step.session] = "credits"
        self.credits[user] -= CREDITS
        return None


def new_club(database: Database) -> Club:
    """Return a new club on a ledger that may hold data of earlier examples."""
    store = PaymentStore(database)
    return Club(store, Cashier(store, TestModeProcessor(database), lambda: NOON))


def outcomes(model: Model, steps: list[Step]) -> list[Model]:
    """Return the possible states after concurrent steps: the results of every order.

    A credit-back that finds a card charge in progress cancels that charge like a refund, so this variant is included.
    """
    charged = {step.session for step in steps if step.verb == "card"}
    choices = [
        [step, replace(step, verb="refund")] if step.verb == "credit_back" and step.session in charged else [step]
        for step in steps
    ]
    ends = []
    for chosen in product(*choices):
        for order in permutations(chosen):
            end = deepcopy(model)
            for step in order:
                end.take(step)
            ends.append(end)
    return ends


class LedgerMachine(RuleBasedStateMachine):
    """State machine with two members and three sessions, called by one caller or by several at once."""

    url: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.Runner()
        self._database = self._await(Database.connect(self.url, max_connections=6))
        self.club, self.model = new_club(self._database), Model()

    def teardown(self) -> None:
        """Close the connection for the next example."""
        self._await(self._database.close())
        self._loop.close()

    @rule(step=STEP)
    def one(self, step: Step) -> None:
        """Carry out one step and expect the model's answer."""
        expected = self.model.take(step)
        answer = self._await(self.club.take(step))
        assert (type(answer) if isinstance(answer, ServiceError) else None) is expected

    @rule(session=st.integers(0, SESSIONS - 1), steps=RACERS)
    def several_at_once(self, session: int, steps: list[Step]) -> None:
        """Carry out concurrent steps on one session and expect one of the possible states."""
        racing = [replace(step, session=session) for step in steps]
        possible = outcomes(self.model, racing)
        self._await(self._race(racing))
        seen = self._await(self._look())
        assert seen in possible
        self.model = seen

    @invariant()
    def the_ledger_agrees_with_the_model(self) -> None:
        """Compare sessions, balances and card charges with the model, and expect no violated invariant."""
        assert self._await(self._look()) == self.model
        assert self._await(violations(self._database)) == set()
        assert self._await(held_by_cards(self._database)) == -self._await(house_sum(self._database, "cards", "GBP"))

    async def _race(self, steps: list[Step]) -> None:
        await asyncio.gather(*map(self.club.take, steps))

    async def _look(self) -> Model:
        sessions = [
            await self.club.store.run(methodcaller("lock_session", session_id)) for session_id in self.club.sessions
        ]
        ends = {number: end for number, session in enumerate(sessions) if (end := end_of(session))}
        return Model(ends, {user: await self.club.store.balance(self.club.users[user]) for user in (0, 1)})

    def _await(self, work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - any result
        return self._loop.run(work)


def end_of(session: Session) -> str:
    """Return the state of a session in the model's terms."""
    if session.payment is None:
        return "void" if session.is_void else ""
    if session.payment.status is Status.CAPTURED:
        return str(session.payment.order.method)
    return {Status.DECLINED: "declined", Status.VOIDED: "void", Status.REFUNDED: "back"}[session.payment.status]


@pytest.mark.parametrize("examples", [6, pytest.param(100, marks=pytest.mark.soak)])
def test_sequential_and_concurrent_steps_agree_with_the_model(payment_url: str, examples: int) -> None:
    """Answers, sessions and balances agree with the model after sequential and concurrent steps in any order."""
    machine = type("Machine", (LedgerMachine,), {"url": payment_url})

    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=15, database=None))


@BOUNDED
@given(steps=st.lists(STEP, max_size=14))
async def test_concurrent_steps_leave_a_sound_ledger(database: Database, steps: list[Step]) -> None:
    """Up to 14 concurrent steps break no invariant, leave no payment pending and agree with the card company's sum."""
    club = new_club(database)

    await asyncio.gather(*map(club.take, steps))

    assert await violations(database) == set()
    assert await held_by_cards(database) == -await house_sum(database, "cards", "GBP")
    for session_id in club.sessions:
        payments = await club.store.payments_of_session(session_id, 2, after=None)
        assert all(payment.status is not Status.PENDING for payment in payments)
