"""Circuit with a clock, for tests that make calls one after the other."""

from __future__ import annotations

from random import Random

from interceptors.breaker.circuit import Circuit, Limits, Outcome, State

OK, FAILED, UNREACHABLE, UNCOUNTED = Outcome.SUCCESS, Outcome.FAILURE, Outcome.UNREACHABLE, Outcome.UNCOUNTED
# Without jitter, times are exact.
EXACT = Limits(jitter=0.0)


def seeded_random(seed: int) -> Random:
    """Return a random generator with a fixed seed."""
    return Random(seed)  # noqa: S311 - no secret is drawn


class Calls:
    """Circuit with a clock, for calls one after the other."""

    def __init__(self, limits: Limits = EXACT, rng: Random | None = None) -> None:
        self.now = 1000.0
        self.circuit = Circuit(rng or seeded_random(1), limits)

    def state(self) -> State:
        """Return the current state."""
        return self.circuit.state(self.now)

    def make(self, outcome: Outcome, times: int = 1, every_s: float = 0.0) -> int:
        """Make calls with one outcome, and return how many were admitted."""
        sent = 0
        for _ in range(times):
            admitted = self.circuit.admit(self.now)
            if admitted is not None:
                sent += 1
                self.circuit.record(admitted, outcome, self.now)
            self.now += every_s
        return sent

    def pass_s(self, seconds: float) -> None:
        """Move the clock forward."""
        self.now += seconds


def opened(limits: Limits = EXACT, rng: Random | None = None) -> Calls:
    """Return a circuit that has just opened."""
    calls = Calls(limits, rng)
    calls.make(FAILED, 20)
    assert calls.state() is State.OPEN
    return calls


def half_open() -> Calls:
    """Return a half-open circuit."""
    calls = opened()
    calls.pass_s(5)
    assert calls.state() is State.HALF_OPEN
    return calls
