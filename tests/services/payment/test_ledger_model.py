"""Any sequence of steps leaves what a model of a few lines says, and any crowd of them a ledger without a flaw."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.errors import (
    AlreadyCharged,
    CardDeclined,
    InsufficientCredits,
    PaymentNotFound,
    PaymentVoided,
    ServiceError,
)
from services.payment.cards import TestModeProcessor
from services.payment.cashier import Cashier
from services.payment.domain import Means, Order, Price, Status
from services.payment.store import PaymentStore
from tests.services.payment.ledger import held_by_cards, house_sum, violations

if TYPE_CHECKING:
    from mesh.database import Database
    from services.payment.domain import Payment

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
SESSIONS = 3
CREDITS, PENCE = 3, 1250


@dataclass(frozen=True, slots=True)
class Step:
    """Something that is asked of payment: `verb` for a session, whose number says which of two members pays."""

    verb: str
    session: int
    token: str = ""
    amount: int = 0


STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from(["grant", "credits", "card", "card", "refund", "credit_back"]),
        st.integers(0, SESSIONS - 1),
        st.sampled_from(["tok_visa", "tok_visa", "tok_declined"]),
        st.integers(1, 2 * CREDITS),
    ),
    max_size=14,
)
# A failing example is printed and can be pasted; kept files would be one more thing to clean up. The fixture is one
# database for all examples, and each of them has users and sessions of its own.
BOUNDED = settings(
    max_examples=40, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@dataclass(slots=True)
class Club:
    """Two members and their sessions, new to payment."""

    store: PaymentStore
    cashier: Cashier
    users: list[UUID] = field(default_factory=lambda: [uuid4(), uuid4()])
    sessions: list[UUID] = field(default_factory=lambda: [uuid4() for _ in range(SESSIONS)])

    async def take(self, step: Step) -> Payment | int | ServiceError | None:
        """Take a step, and return what payment answers."""
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
    """What must come of the steps, in a few lines: `ends` is what became of each session that anything became of."""

    ends: dict[int, str] = field(default_factory=dict)
    credits: dict[int, int] = field(default_factory=lambda: defaultdict(int))

    def take(self, step: Step) -> type[ServiceError] | None:
        """Take a step, and return the error that it must end in."""
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
    """Make a club on a ledger that may hold those of earlier examples."""
    store = PaymentStore(database)
    return Club(store, Cashier(store, TestModeProcessor(database), lambda: NOON))


@BOUNDED
@given(steps=STEPS)
async def test_steps_one_after_the_other_do_what_the_model_says(database: Database, steps: list[Step]) -> None:
    """T-h3: every answer and every balance, over random sequences."""
    club, model = new_club(database), Model()

    for step in steps:
        expected = model.take(step)
        answer = await club.take(step)
        assert (type(answer) if isinstance(answer, ServiceError) else None) is expected

    assert [await club.store.balance(user) for user in club.users] == [model.credits[0], model.credits[1]]
    assert await violations(database) == set()


@BOUNDED
@given(steps=STEPS)
async def test_steps_all_at_once_leave_a_ledger_without_a_flaw(database: Database, steps: list[Step]) -> None:
    """T-h3: no invariant breaks, and ledger and card company agree on every penny."""
    club = new_club(database)

    await asyncio.gather(*map(club.take, steps))

    assert await violations(database) == set()
    assert await held_by_cards(database) == -await house_sum(database, "cards", "GBP")
    for session_id in club.sessions:
        payments = await club.store.payments_of_session(session_id)
        assert all(payment.status is not Status.PENDING for payment in payments)
