from __future__ import annotations

import pytest

from interceptors.breaker.circuit import Limits, State
from mesh.serving.channel import MAX_RECONNECT_PAUSE_MS
from tests.interceptors.breaker.circuit_calls import (
    FAILED,
    OK,
    UNCOUNTED,
    UNREACHABLE,
    Calls,
    half_open,
    opened,
    seeded_random,
)


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

    After a longer pause, the open time starts at 5 s again.
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

    The circuit reports a wait of at most 1 s to the others.
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
