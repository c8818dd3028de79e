from __future__ import annotations

from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from interceptors.circuit import Circuit, Limits, Outcome, State
from mesh.channel import LONGEST_RECONNECT_PAUSE_MS

OK, FAILED, LOST, UNCOUNTED = Outcome.SUCCESS, Outcome.FAILURE, Outcome.UNREACHABLE, Outcome.UNCOUNTED
# Without chance, times are exact.
EXACT = Limits(jitter=0.0)


def dice(seed: int) -> Random:
    """Return the same chance for each run."""
    return Random(seed)  # noqa: S311 - no secret is drawn


class Calls:
    """A circuit, a clock, and calls one after the other."""

    def __init__(self, limits: Limits = EXACT, chance: Random | None = None) -> None:
        self.now = 1000.0
        self.circuit = Circuit(chance or dice(1), limits)

    def state(self) -> State:
        """Return the state now."""
        return self.circuit.state(self.now)

    def make(self, outcome: Outcome, times: int = 1, every_s: float = 0.0) -> int:
        """Make calls with one outcome, and return how many of them were let through."""
        sent = 0
        for _ in range(times):
            admitted = self.circuit.admit(self.now)
            if admitted is not None:
                sent += 1
                self.circuit.record(admitted, outcome, self.now)
            self.now += every_s
        return sent

    def pass_s(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


def opened(limits: Limits = EXACT, chance: Random | None = None) -> Calls:
    """Return a circuit that has just opened, for `open_s`."""
    calls = Calls(limits, chance)
    calls.make(FAILED, 20)
    assert calls.state() is State.OPEN
    return calls


def half_open() -> Calls:
    """Return a circuit that lets probes through now."""
    calls = opened()
    calls.pass_s(5)
    assert calls.state() is State.HALF_OPEN
    return calls


def test_it_opens_when_all_of_twenty_calls_have_failed() -> None:
    """With the twentieth call, and not before."""
    calls = Calls()

    assert calls.make(FAILED, 19) == 19
    assert calls.state() is State.CLOSED
    assert calls.make(FAILED, 100) == 1


def test_half_of_the_calls_must_fail_for_a_second() -> None:
    """A single bad address of two is given up by gRPC's core before that."""
    calls = Calls()
    for _ in range(50):
        calls.make(OK)
        calls.make(FAILED)
    assert calls.state() is State.CLOSED

    calls.pass_s(1)
    calls.make(OK)
    calls.make(FAILED)

    assert calls.state() is State.OPEN


def test_less_than_half_never_opens_it() -> None:
    """For as long as one likes."""
    calls = Calls()
    for _ in range(200):
        calls.make(OK, 6, every_s=0.05)
        calls.make(FAILED, 5, every_s=0.05)

    assert calls.state() is State.CLOSED


def test_a_burst_of_failures_that_is_over_does_not_open_it() -> None:
    """What is bad for half a second only, and good from then on."""
    calls = Calls()
    calls.make(OK, 10)
    calls.make(FAILED, 30)
    for _ in range(100):
        calls.make(OK, 5, every_s=0.1)
    calls.make(FAILED)

    assert calls.state() is State.CLOSED


def test_failures_older_than_the_window_are_forgotten() -> None:
    """Ten seconds."""
    calls = Calls()
    calls.make(FAILED, 19)
    calls.pass_s(10.1)

    calls.make(FAILED, 19)
    assert calls.state() is State.CLOSED
    calls.make(FAILED)
    assert calls.state() is State.OPEN


def test_it_opens_after_five_calls_that_reach_nobody() -> None:
    """Five in a row; an answer between them begins the count again, whatever it says."""
    calls = Calls()
    calls.make(LOST, 4)
    calls.make(FAILED)
    calls.make(LOST, 4)
    assert calls.state() is State.CLOSED

    calls.make(LOST)

    assert calls.state() is State.OPEN
    assert calls.circuit.retry_after_s(calls.now) == 1.0


def test_what_is_not_counted_neither_opens_it_nor_keeps_it_closed() -> None:
    """A caller's own faults are not its callee's."""
    calls = Calls()
    calls.make(UNCOUNTED, 1000)
    assert calls.state() is State.CLOSED

    calls.make(FAILED, 20)

    assert calls.state() is State.OPEN


def test_while_open_nothing_is_sent_and_it_says_for_how_long() -> None:
    """Five seconds at first."""
    calls = opened()
    assert calls.make(OK, 1000) == 0
    assert calls.circuit.retry_after_s(calls.now) == 5.0

    calls.pass_s(4.9)
    assert calls.make(OK, 1000) == 0
    assert calls.circuit.retry_after_s(calls.now) == pytest.approx(0.1)


def test_it_closes_after_three_good_probes() -> None:
    """As soon as it has been open for long enough."""
    calls = half_open()

    calls.make(OK, 2)
    assert calls.state() is State.HALF_OPEN
    calls.make(OK)

    assert calls.state() is State.CLOSED


@pytest.mark.parametrize("good", [0, 1, 2])
def test_one_bad_probe_opens_it_for_twice_as_long(good: int) -> None:
    """5, 10, 20, 40, 60, 60 s."""
    calls = opened()
    lengths = []
    for _ in range(6):
        lengths.append(calls.circuit.retry_after_s(calls.now))
        calls.pass_s(lengths[-1])
        calls.make(OK, good)
        calls.make(FAILED)

    assert lengths == [5, 10, 20, 40, 60, 60]


def test_a_service_that_is_not_there_is_looked_for_every_few_seconds() -> None:
    """A service that was restarted is found again soon; the core looks for it on its own anyway."""
    calls = Calls()
    calls.make(LOST, 5)
    lengths = []
    for _ in range(5):
        lengths.append(calls.circuit.retry_after_s(calls.now))
        calls.pass_s(lengths[-1])
        calls.make(LOST)

    assert lengths == [1, 2, 2, 2, 2]


def test_a_service_that_is_there_again_is_found_within_five_seconds() -> None:
    """Though the core may pause for 2 s, and a fifth, before it connects, while the breaker lets nobody try."""
    for seed in range(100):
        chance = dice(seed)
        calls = Calls(Limits(), chance)
        back_at = calls.now + 10 + chance.random()
        connected_at = back_at + chance.uniform(0, 1.2 * LONGEST_RECONNECT_PAUSE_MS / 1000)
        calls.make(LOST, 5)
        while calls.state() is not State.CLOSED:
            calls.make(OK if calls.now >= connected_at else LOST, every_s=0.01)

        assert calls.now - back_at < 5


def test_a_circuit_that_has_closed_only_just_does_not_begin_with_short_times_again() -> None:
    """Who is good for three probes and then fails again is not asked all the time."""
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
def test_of_many_callers_at_once_exactly_three_probe(repeat: int) -> None:
    """Exactly three of two hundred, and whoever is refused is told to wait a little."""
    calls = opened(Limits(), dice(repeat))
    calls.pass_s(60)

    admitted = [calls.circuit.admit(calls.now) for _ in range(200)]

    assert sum(each is not None for each in admitted) == 3
    assert 0 < calls.circuit.retry_after_s(calls.now) <= 1


def test_a_cancelled_probe_gives_its_place_back() -> None:
    """Otherwise three callers who give up would keep everybody else out for ever."""
    calls = half_open()
    probes = [calls.circuit.admit(calls.now) for _ in range(3)]
    assert calls.circuit.admit(calls.now) is None

    assert probes[0] is not None
    calls.circuit.record(probes[0], UNCOUNTED, calls.now)

    assert calls.circuit.admit(calls.now) is not None
    assert calls.circuit.admit(calls.now) is None


def test_a_late_answer_of_an_earlier_generation_changes_nothing() -> None:
    """Calls from before it opened neither close it nor open it again."""
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


def test_the_times_are_spread_evenly_by_a_fifth() -> None:
    """Callers that saw the same outage do not come back together (Kolmogorov-Smirnov, p > 0.01)."""
    count, chance = 2000, dice(1)
    callers = [opened(Limits(), chance) for _ in range(count)]
    lengths = sorted(each.circuit.retry_after_s(each.now) / 5 for each in callers)

    assert lengths[0] >= 0.8
    assert lengths[-1] <= 1.2
    expected = [(each - 0.8) / 0.4 for each in lengths]
    distance = max(max((n + 1) / count - each, each - n / count) for n, each in enumerate(expected))
    assert distance < 1.628 / count**0.5


@pytest.mark.parametrize("ratio", [0.45, 0.5, 0.55])
@pytest.mark.parametrize(("calls_per_s", "for_s"), [(10, 3600), (1000, 60)])
def test_it_does_not_flap(ratio: float, calls_per_s: int, for_s: int) -> None:
    """At most one change a second where about half of the calls fail."""
    calls, chance, changes = Calls(Limits()), dice(7), 0
    for _ in range(for_s * calls_per_s // 10):
        before = calls.state()
        for _ in range(10):
            calls.make(FAILED if chance.random() < ratio else OK, every_s=1 / calls_per_s)
        changes += calls.state() is not before

    assert changes <= for_s


class TestGobreaker:
    """The sequences of gobreaker's own tests, for its limits: more than five failures in a row, 60 s, few probes."""

    def test_default(self) -> None:
        """Closed after five failures and a success, open after six failures, half open after 60 s, closed by one."""
        calls = Calls(gobreaker(probes=1))
        calls.make(LOST, 5)
        calls.make(OK)
        calls.make(LOST, 5)
        assert calls.state() is State.CLOSED
        calls.make(LOST)
        assert calls.state() is State.OPEN
        assert calls.make(OK) == calls.make(LOST) == 0
        calls.pass_s(59)
        assert calls.state() is State.OPEN
        calls.pass_s(1)
        assert calls.state() is State.HALF_OPEN
        calls.make(LOST)
        assert calls.state() is State.OPEN
        calls.pass_s(60)
        calls.make(OK)
        assert calls.state() is State.CLOSED

    def test_custom(self) -> None:
        """Three probes: the fourth call is refused while three are in flight, and three successes close it."""
        calls = Calls(gobreaker(probes=3))
        calls.make(LOST, 6)
        calls.pass_s(60)
        probes = [calls.circuit.admit(calls.now) for _ in range(3)]
        assert calls.circuit.admit(calls.now) is None
        for probe in probes:
            assert probe is not None
            assert calls.state() is State.HALF_OPEN
            calls.circuit.record(probe, OK, calls.now)
        assert calls.state() is State.CLOSED

    def test_generation(self) -> None:
        """A success that began before the circuit opened does not count for the half open one."""
        calls = Calls(gobreaker(probes=1))
        late = calls.circuit.admit(calls.now)
        calls.make(LOST, 6)
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
        least_calls=10**9,
        unreachable_in_a_row=6,
        unreachable_open_s=60.0,
        longest_unreachable_open_s=60.0,
        jitter=0.0,
        probes=probes,
    )


class Model:
    """What a circuit should do, said in another way: it keeps every call, and counts them anew each time."""

    def __init__(self) -> None:
        self.kept: list[tuple[int, Outcome]] = []
        self.until = self.closed_at = float("-inf")
        self.failing_since: float | None = None
        self.state, self.generation, self.openings, self.probing, self.good = "closed", 0, 0, 0, 0

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
            self.good += outcome is OK
            if outcome in (FAILED, LOST):
                self.open(now, outcome)
            elif self.good == 3:
                self.closed_at = now
                self.change("closed")
        elif outcome is not UNCOUNTED:
            self.kept.append((int(now), outcome))
            if outcome is not OK and self.trips(now):
                self.open(now, outcome if self.lost() >= 5 else FAILED)

    def lost(self) -> int:
        outcomes = [each for _, each in reversed(self.kept)]
        return next((n for n, each in enumerate(outcomes) if each is not LOST), len(outcomes))

    def trips(self, now: float) -> bool:
        seen = [each for second, each in self.kept if second > int(now) - 10]
        share = sum(each is not OK for each in seen) / len(seen)
        if self.lost() >= 5:
            return True
        if len(seen) < 20 or share < 0.5:
            self.failing_since = None
            return False
        self.failing_since = now if self.failing_since is None else self.failing_since
        return share >= 0.9 or now - self.failing_since >= 1.0

    def open(self, now: float, why: Outcome) -> None:
        if self.state == "closed" and now - self.closed_at >= 10:
            self.openings = 0
        first_s, longest_s = (1, 2) if why is LOST else (5, 60)
        self.until = now + min(first_s * 2**self.openings, longest_s)
        self.openings += 1
        self.change("open")

    def change(self, state: str) -> None:
        self.state, self.generation = state, self.generation + 1
        self.kept, self.failing_since, self.probing, self.good = [], None, 0, 0


class Machine(RuleBasedStateMachine):
    """The circuit and the model, side by side through the same calls."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.circuit, self.model = Circuit(dice(1), EXACT), Model()
        self.flying: list[tuple[int, int]] = []

    @initialize(outcome=st.sampled_from([OK, FAILED]))
    def calls_before(self, outcome: Outcome) -> None:
        self.many(outcome, 18)

    @rule(outcome=st.sampled_from(list(Outcome)), times=st.integers(1, 25))
    def many(self, outcome: Outcome, times: int) -> None:
        for _ in range(times):
            self.begin()
            if self.flying:
                self.end(len(self.flying) - 1, outcome)

    @rule()
    def begin(self) -> None:
        admitted = self.circuit.admit(self.now)
        assert (admitted is not None) == self.model.admit(self.now)
        if admitted is not None:
            self.flying.append((admitted, self.model.generation))

    @precondition(lambda self: self.flying)
    @rule(which=st.integers(0, 1000), outcome=st.sampled_from(list(Outcome)))
    def end(self, which: int, outcome: Outcome) -> None:
        admitted, generation = self.flying.pop(which % len(self.flying))
        self.circuit.record(admitted, outcome, self.now)
        if generation == self.model.generation:
            self.model.record(outcome, self.now)

    @rule(passed_s=st.sampled_from([0.1, 0.5, 1.0, 2.0, 5.0, 9.5, 12.0, 60.0]))
    def wait(self, passed_s: float) -> None:
        self.now += passed_s

    @invariant()
    def they_agree(self) -> None:
        expected = "half-open" if self.model.state == "open" and self.now >= self.model.until else self.model.state
        assert self.circuit.state(self.now).value == expected


class TestAgainstTheModel(Machine.TestCase):  # type: ignore[misc,valid-type]  # hypothesis makes it
    """3,000 steps of calls, of answers in any order, and of time."""

    settings = settings(max_examples=50, stateful_step_count=60, deadline=None)


@pytest.mark.soak
class TestAtLengthAgainstTheModel(Machine.TestCase):  # type: ignore[misc,valid-type]  # likewise
    """60,000 steps."""

    settings = settings(max_examples=1000, stateful_step_count=60, deadline=None)
