"""Model test of the circuit: random steps must agree with a reference model."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from interceptors.breaker.circuit import Circuit, Outcome
from tests.interceptors.breaker.circuit_calls import EXACT, FAILED, OK, UNCOUNTED, UNREACHABLE, seeded_random


class Model:
    """Reference model of a circuit that stores every call and recounts them each time."""

    def __init__(self) -> None:
        self.outcomes_by_second: list[tuple[int, Outcome]] = []
        self.until = self.closed_at = float("-inf")
        self.failing_since: float | None = None
        self.state, self.generation, self.openings, self.probing, self.succeeded = "closed", 0, 0, 0, 0

    def admit(self, now: float) -> bool:
        if self.state == "open" and now >= self.until:
            self.change("half-open")
        if self.state == "half-open" and self.probing < 3:
            self.probing += 1
            return True
        return self.state == "closed"

    def record(self, outcome: Outcome, now: float) -> None:
        if self.state == "half-open":
            self.probing -= outcome is UNCOUNTED
            self.succeeded += outcome is OK
            if outcome in (FAILED, UNREACHABLE):
                self.open(now, outcome)
            elif self.succeeded == 3:
                self.closed_at = now
                self.change("closed")
        elif outcome is not UNCOUNTED:
            self.outcomes_by_second.append((int(now), outcome))
            if outcome is not OK and self.must_open(now):
                self.open(now, outcome if self.unreachable_in_a_row() >= 5 else FAILED)

    def unreachable_in_a_row(self) -> int:
        outcomes = [each for _, each in reversed(self.outcomes_by_second)]
        return next((n for n, each in enumerate(outcomes) if each is not UNREACHABLE), len(outcomes))

    def must_open(self, now: float) -> bool:
        seen = [each for second, each in self.outcomes_by_second if second > int(now) - 10]
        share = sum(each is not OK for each in seen) / len(seen)
        if self.unreachable_in_a_row() >= 5:
            return True
        if len(seen) < 20 or share < 0.5:
            self.failing_since = None
            return False
        self.failing_since = now if self.failing_since is None else self.failing_since
        return share >= 0.9 or now - self.failing_since >= 1.0

    def open(self, now: float, outcome: Outcome) -> None:
        if self.state == "closed" and now - self.closed_at >= 10:
            self.openings = 0
        first_s, max_s = (1, 2) if outcome is UNREACHABLE else (5, 60)
        self.until = now + min(first_s * 2**self.openings, max_s)
        self.openings += 1
        self.change("open")

    def change(self, state: str) -> None:
        self.state, self.generation = state, self.generation + 1
        self.outcomes_by_second, self.failing_since, self.probing, self.succeeded = [], None, 0, 0


class Machine(RuleBasedStateMachine):
    """State machine that runs the circuit and the model side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.circuit, self.model = Circuit(seeded_random(1), EXACT), Model()
        self.in_flight: list[tuple[int, int]] = []

    @initialize(outcome=st.sampled_from([OK, FAILED]))
    def calls_before(self, outcome: Outcome) -> None:
        self.many(outcome, 18)

    @rule(outcome=st.sampled_from(list(Outcome)), times=st.integers(1, 25))
    def many(self, outcome: Outcome, times: int) -> None:
        for _ in range(times):
            self.begin()
            if self.in_flight:
                self.end(len(self.in_flight) - 1, outcome)

    @rule()
    def begin(self) -> None:
        admitted = self.circuit.admit(self.now)
        assert (admitted is not None) == self.model.admit(self.now)
        if admitted is not None:
            self.in_flight.append((admitted, self.model.generation))

    @precondition(lambda self: self.in_flight)
    @rule(which=st.integers(0, 1000), outcome=st.sampled_from(list(Outcome)))
    def end(self, which: int, outcome: Outcome) -> None:
        admitted, generation = self.in_flight.pop(which % len(self.in_flight))
        self.circuit.record(admitted, outcome, self.now)
        if generation == self.model.generation:
            self.model.record(outcome, self.now)

    @rule(passed_s=st.sampled_from([0.1, 0.5, 1.0, 2.0, 5.0, 9.5, 12.0, 60.0]))
    def wait(self, passed_s: float) -> None:
        self.now += passed_s

    @invariant()
    def states_agree(self) -> None:
        expected = "half-open" if self.model.state == "open" and self.now >= self.model.until else self.model.state
        assert self.circuit.state(self.now).value == expected


class TestAgainstTheModel(Machine.TestCase):  # type: ignore[misc,valid-type]  # hypothesis makes the class
    """The circuit and the model agree over 3,000 steps of calls, answers in any order, and time."""

    settings = settings(max_examples=50, stateful_step_count=60, deadline=None)


@pytest.mark.soak
class TestAtLengthAgainstTheModel(Machine.TestCase):  # type: ignore[misc,valid-type]  # hypothesis makes the class
    """The circuit and the model agree over 60,000 steps."""

    settings = settings(max_examples=1000, stateful_step_count=60, deadline=None)
