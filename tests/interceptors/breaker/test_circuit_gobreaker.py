"""Sequences of gobreaker's own tests, which our circuit passes with gobreaker's limits."""

from __future__ import annotations

from interceptors.breaker.circuit import Limits, State
from tests.interceptors.breaker.circuit_calls import OK, UNREACHABLE, Calls


class TestGobreaker:
    """Sequences of gobreaker's own tests, with its limits: six failures in a row, 60 s open, few probes."""

    def test_default(self) -> None:
        """The circuit opens at the sixth failure in a row, is half-open after 60 s, and closes after one success."""
        calls = Calls(gobreaker(probes=1))
        calls.make(UNREACHABLE, 5)
        calls.make(OK)
        calls.make(UNREACHABLE, 5)
        assert calls.state() is State.CLOSED
        calls.make(UNREACHABLE)
        assert calls.state() is State.OPEN
        assert calls.make(OK) == calls.make(UNREACHABLE) == 0
        calls.pass_s(59)
        assert calls.state() is State.OPEN
        calls.pass_s(1)
        assert calls.state() is State.HALF_OPEN
        calls.make(UNREACHABLE)
        assert calls.state() is State.OPEN
        calls.pass_s(60)
        calls.make(OK)
        assert calls.state() is State.CLOSED

    def test_custom(self) -> None:
        """With three probes, a fourth call is rejected while three are in flight. Three successes close the circuit."""
        calls = Calls(gobreaker(probes=3))
        calls.make(UNREACHABLE, 6)
        calls.pass_s(60)
        probes = [calls.circuit.admit(calls.now) for _ in range(3)]
        assert calls.circuit.admit(calls.now) is None
        for probe in probes:
            assert probe is not None
            assert calls.state() is State.HALF_OPEN
            calls.circuit.record(probe, OK, calls.now)
        assert calls.state() is State.CLOSED

    def test_generation(self) -> None:
        """A success of a call that began before the circuit opened does not count in the half-open state."""
        calls = Calls(gobreaker(probes=1))
        late = calls.circuit.admit(calls.now)
        calls.make(UNREACHABLE, 6)
        calls.pass_s(60)
        probe = calls.circuit.admit(calls.now)
        assert late is not None
        calls.circuit.record(late, OK, calls.now)
        assert calls.state() is State.HALF_OPEN
        assert probe is not None
        calls.circuit.record(probe, OK, calls.now)
        assert calls.state() is State.CLOSED


def gobreaker(probes: int) -> Limits:
    """Return gobreaker's limits."""
    return Limits(
        min_calls=10**9,
        unreachable_in_a_row=6,
        unreachable_open_s=60.0,
        max_unreachable_open_s=60.0,
        jitter=0.0,
        probes=probes,
    )
