"""Model of payment's ledger: expected answers, sessions and credits after any sequence of calls."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import permutations, product
from typing import TYPE_CHECKING

from contracts.errors import (
    AlreadyCharged,
    CardDeclined,
    InsufficientCredits,
    PaymentNotFound,
    PaymentVoided,
    ServiceError,
)
from tests.services.payment.cashiers import NOON

if TYPE_CHECKING:
    from datetime import datetime

SESSIONS = 3
CREDITS, PENCE = 3, 1250
GRACE_PERIOD = timedelta(days=30)
NEVER = NOON.replace(year=9999)


@dataclass(frozen=True, slots=True)
class Step:
    """One call to payment, or a move of the clock by `days`.

    `operation` names the operation, and the parity of `session` selects the member. Granted credits expire after
    `days`, or never if `days` is 0.
    """

    operation: str
    session: int
    token: str = ""
    amount: int = 0
    days: int = 0


@dataclass(frozen=True, slots=True)
class Observation:
    """Visible state: of each session that has one, and of each member the credits by expiry."""

    states: dict[int, str]
    lots: dict[int, dict[datetime, int]]


@dataclass(slots=True)
class Model:
    """Expected state. Lots of one member with the same expiry count as one, because charges treat them alike.

    `taken` holds, for each session that was paid in credits, the credits by the expiry of their lot.
    """

    now: datetime = NOON
    states: dict[int, str] = field(default_factory=dict)
    lots: dict[int, dict[datetime, int]] = field(default_factory=lambda: {0: {}, 1: {}})
    taken: dict[int, dict[datetime, int]] = field(default_factory=dict)

    def observation(self) -> Observation:
        """Return the visible part of the state."""
        return Observation(dict(self.states), {user: self._valid_lots(user) for user in self.lots})

    def apply(self, step: Step) -> type[ServiceError] | None:
        """Apply a step and return the expected error."""
        user, state = step.session % 2, self.states.get(step.session, "")
        match step.operation:
            case "advance":
                self.now += timedelta(days=step.days)
            case "expire":
                pass
            case "grant":
                self._add(user, self.now + timedelta(days=step.days) if step.days else NEVER, step.amount)
            case "credits" | "card":
                return self._charge(step, user, state)
            case "refund":
                self.states[step.session] = {"": "void", "card": "refunded", "credits": "refunded"}.get(state, state)
                if state == "credits":
                    self._give_back(step.session, user)
            case _:
                if state == "credits":
                    self._give_back(step.session, user)
                if state == "card":
                    self._add(user, NEVER, CREDITS)
                if state in {"card", "credits"}:
                    self.states[step.session] = "refunded"
                return PaymentNotFound if state in {"", "void", "declined"} else None
        return None

    def _charge(self, step: Step, user: int, state: str) -> type[ServiceError] | None:
        if state:
            other = AlreadyCharged if state != step.operation else None
            return {"declined": CardDeclined, "void": PaymentVoided, "refunded": PaymentVoided}.get(state, other)
        if step.operation == "card":
            is_good = step.token == "tok_visa"  # noqa: S105 - a test card
            self.states[step.session] = "card" if is_good else "declined"
            return None if is_good else CardDeclined
        valid = self._valid_lots(user)
        if sum(valid.values()) < CREDITS:
            return InsufficientCredits
        self.states[step.session] = "credits"
        taken = self.taken[step.session] = {}
        for expire_time in sorted(valid):
            taken[expire_time] = min(valid[expire_time], CREDITS - sum(taken.values()))
            self._add(user, expire_time, -taken[expire_time])
        return None

    def _give_back(self, session: int, user: int) -> None:
        for expire_time, taken in self.taken.pop(session).items():
            self._add(user, expire_time if expire_time > self.now else self.now + GRACE_PERIOD, taken)

    def _add(self, user: int, expire_time: datetime, credits_added: int) -> None:
        self.lots[user][expire_time] = self.lots[user].get(expire_time, 0) + credits_added

    def _valid_lots(self, user: int) -> dict[datetime, int]:
        return {time: amount for time, amount in self.lots[user].items() if amount and time > self.now}


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
