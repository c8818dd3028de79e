from __future__ import annotations

from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from interceptors.breaker.circuit import Circuit, Limits, Outcome, State
from mesh.serving.channel import MAX_RECONNECT_PAUSE_MS

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


def test_twenty_failures_open_the_circuit() -> None:
    """The circuit opens with the twentieth failure in a row, and not before."""
    calls = Calls()

    assert calls.make(FAILED, 19) == 19
    assert calls.state() is State.CLOSED
    assert calls.make(FAILED, 100) == 1


def test_a_failure_rate_of_half_opens_the_circuit_after_a_second() -> None:
    """If half of the calls fail, the circuit opens only after one second.

    Before that, gRPC's core ejects one bad address of two.
    """
    calls = Calls()
    for _ in range(50):
        calls.make(OK)
        calls.make(FAILED)
    assert calls.state() is State.CLOSED

    calls.pass_s(1)
    calls.make(OK)
    calls.make(FAILED)

    assert calls.state() is State.OPEN


def test_a_failure_rate_below_half_never_opens_the_circuit() -> None:
    """The circuit stays closed while fewer than half of the calls fail."""
    calls = Calls()
    for _ in range(200):
        calls.make(OK, 6, every_s=0.05)
        calls.make(FAILED, 5, every_s=0.05)

    assert calls.state() is State.CLOSED


def test_a_short_burst_of_failures_does_not_open_the_circuit() -> None:
    """A burst of failures does not open the circuit if the following calls succeed."""
    calls = Calls()
    calls.make(OK, 10)
    calls.make(FAILED, 30)
    for _ in range(100):
        calls.make(OK, 5, every_s=0.1)
    calls.make(FAILED)

    assert calls.state() is State.CLOSED


def test_failures_older_than_the_window_are_forgotten() -> None:
    """Failures older than the window of ten seconds are not counted."""
    calls = Calls()
    calls.make(FAILED, 19)
    calls.pass_s(10.1)

    calls.make(FAILED, 19)
    assert calls.state() is State.CLOSED
    calls.make(FAILED)
    assert calls.state() is State.OPEN


def test_five_unreachable_calls_in_a_row_open_the_circuit() -> None:
    """Five unreachable calls in a row open the circuit for 1 s, and any answer between them restarts the count."""
    calls = Calls()
    calls.make(UNREACHABLE, 4)
    calls.make(FAILED)
    calls.make(UNREACHABLE, 4)
    assert calls.state() is State.CLOSED

    calls.make(UNREACHABLE)

    assert calls.state() is State.OPEN
    assert calls.circuit.retry_after_s(calls.now) == 1.0


def test_uncounted_calls_have_no_effect() -> None:
    """Uncounted calls neither open the circuit nor dilute its failure rate."""
    calls = Calls()
    calls.make(UNCOUNTED, 1000)
    assert calls.state() is State.CLOSED

    calls.make(FAILED, 20)

    assert calls.state() is State.OPEN


def test_an_open_circuit_admits_nothing_for_five_seconds() -> None:
    """An open circuit admits no call and reports how long it stays open, at first 5 s."""
    calls = opened()
    assert calls.make(OK, 1000) == 0
    assert calls.circuit.retry_after_s(calls.now) == 5.0

    calls.pass_s(4.9)
    assert calls.make(OK, 1000) == 0
    assert calls.circuit.retry_after_s(calls.now) == pytest.approx(0.1)


def test_the_circuit_closes_after_three_good_probes() -> None:
    """A half-open circuit closes after three good probes."""
    calls = half_open()

    calls.make(OK, 2)
    assert calls.state() is State.HALF_OPEN
    calls.make(OK)

    assert calls.state() is State.CLOSED


@pytest.mark.parametrize("succeeded", [0, 1, 2])
def test_a_bad_probe_doubles_the_open_time(succeeded: int) -> None:
    """Each bad probe opens the circuit for twice as long, up to 60 s."""
    calls = opened()
    lengths = []
    for _ in range(6):
        lengths.append(calls.circuit.retry_after_s(calls.now))
        calls.pass_s(lengths[-1])
        calls.make(OK, succeeded)
        calls.make(FAILED)

    assert lengths == [5, 10, 20, 40, 60, 60]


def test_an_unreachable_service_is_probed_every_two_seconds() -> None:
    """The circuit of an unreachable service stays open for at most 2 s, so that a restarted service is found soon."""
    calls = Calls()
    calls.make(UNREACHABLE, 5)
    lengths = []
    for _ in range(5):
        lengths.append(calls.circuit.retry_after_s(calls.now))
        calls.pass_s(lengths[-1])
        calls.make(UNREACHABLE)

    assert lengths == [1, 2, 2, 2, 2]


def test_a_restarted_service_is_found_within_five_seconds() -> None:
    """The circuit closes within 5 s after a service is back, even if gRPC's core pauses 2.4 s before it reconnects."""
    for seed in range(100):
        rng = seeded_random(seed)
        calls = Calls(Limits(), rng)
        back_at = calls.now + 10 + rng.random()
        connected_at = back_at + rng.uniform(0, 1.2 * MAX_RECONNECT_PAUSE_MS / 1000)
        calls.make(UNREACHABLE, 5)
        while calls.state() is not State.CLOSED:
            calls.make(OK if calls.now >= connected_at else UNREACHABLE, every_s=0.01)

        assert calls.now - back_at < 5


def test_a_circuit_that_soon_reopens_stays_open_for_longer() -> None:
    """A circuit that reopens within 10 s of closing stays open for twice as long as before.

    Later it starts at 5 s again.
    """
    calls = half_open()
    calls.make(OK, 3)
    calls.pass_s(9)
    calls.make(FAILED, 20)
    assert calls.circuit.retry_after_s(calls.now) == 10.0

    calls.pass_s(10)
    calls.make(OK, 3)
    calls.pass_s(11)
    calls.make(FAILED, 20)

    assert calls.circuit.retry_after_s(calls.now) == 5.0


@pytest.mark.parametrize("repeat", range(100))
def test_exactly_three_of_many_concurrent_callers_probe(repeat: int) -> None:
    """A half-open circuit admits exactly three of 200 concurrent calls.

    It reports a wait of at most 1 s to the others.
    """
    calls = opened(Limits(), seeded_random(repeat))
    calls.pass_s(60)

    admitted = [calls.circuit.admit(calls.now) for _ in range(200)]

    assert sum(each is not None for each in admitted) == 3
    assert 0 < calls.circuit.retry_after_s(calls.now) <= 1


def test_a_cancelled_probe_frees_its_place() -> None:
    """A cancelled probe admits another one, so that three cancelled probes cannot block the circuit for ever."""
    calls = half_open()
    probes = [calls.circuit.admit(calls.now) for _ in range(3)]
    assert calls.circuit.admit(calls.now) is None

    assert probes[0] is not None
    calls.circuit.record(probes[0], UNCOUNTED, calls.now)

    assert calls.circuit.admit(calls.now) is not None
    assert calls.circuit.admit(calls.now) is None


def test_a_late_answer_of_an_earlier_generation_changes_nothing() -> None:
    """Results of calls that began before the circuit opened do not change its half-open state."""
    calls = Calls()
    early = [calls.circuit.admit(calls.now) for _ in range(40)]
    for each in early[:20]:
        assert each is not None
        calls.circuit.record(each, FAILED, calls.now)
    calls.pass_s(5)
    assert calls.circuit.admit(calls.now) is not None

    for each in early[20:]:
        assert each is not None
        calls.circuit.record(each, OK, calls.now)
        calls.circuit.record(each, FAILED, calls.now)

    assert calls.state() is State.HALF_OPEN


def test_open_times_are_spread_evenly_by_a_fifth() -> None:
    """Open times are uniformly spread over 80 % to 120 %, so that callers do not return together.

    Tested by Kolmogorov-Smirnov, p > 0.01.
    """
    count, rng = 2000, seeded_random(1)
    callers = [opened(Limits(), rng) for _ in range(count)]
    lengths = sorted(each.circuit.retry_after_s(each.now) / 5 for each in callers)

    assert lengths[0] >= 0.8
    assert lengths[-1] <= 1.2
    expected = [(each - 0.8) / 0.4 for each in lengths]
    distance = max(max((n + 1) / count - each, each - n / count) for n, each in enumerate(expected))
    assert distance < 1.628 / count**0.5


@pytest.mark.parametrize("ratio", [0.45, 0.5, 0.55])
@pytest.mark.parametrize(("calls_per_s", "for_s"), [(10, 3600), (1000, 60)])
def test_the_circuit_does_not_flap(ratio: float, calls_per_s: int, for_s: int) -> None:
    """The circuit changes its state at most once a second while about half of the calls fail."""
    calls, rng, changes = Calls(Limits()), seeded_random(7), 0
    for _ in range(for_s * calls_per_s // 10):
        before = calls.state()
        for _ in range(10):
            calls.make(FAILED if rng.random() < ratio else OK, every_s=1 / calls_per_s)
        changes += calls.state() is not before

    assert changes <= for_s


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
