from __future__ import annotations

import math

import pytest

from operations.metrics.reading import CLIENT, Bucket, Outcome
from operations.metrics.tally import Rates, Tally, is_failing, quantile
from tests.operations.metrics.pages import GET_GYM


def outcome(code: str, reason: str = "") -> Outcome:
    """Return the counter of one outcome."""
    return Outcome(CLIENT, GET_GYM, code, reason, "")


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.25, 0.055), (0.5, 0.1), (0.725, 0.175), (0.95, 0.25), (0.99, 0.25)],
)
def test_a_quantile_is_interpolated_within_its_bucket(share: float, expected: float) -> None:
    """A quantile lies within its bucket as in PromQL; one above the last bound is that bound."""
    buckets = {0.01: 0.0, 0.1: 50.0, 0.25: 95.0, math.inf: 100.0}

    assert quantile(buckets, share) == pytest.approx(expected)


def test_an_empty_histogram_has_no_quantile() -> None:
    """Without calls there is no quantile."""
    assert quantile({}, 0.99) is None
    assert quantile({0.1: 0.0, math.inf: 0.0}, 0.5) is None


def test_calls_of_several_processes_add_up() -> None:
    """The rates of several processes with windows of their own add up."""
    tally = Tally()
    tally.add(outcome("OK"), 10, span_s=10)
    tally.add(outcome("OK"), 10, span_s=5)
    for bound, number in ((0.1, 20.0), (math.inf, 20.0)):
        tally.add(Bucket(CLIENT, GET_GYM, bound), number, span_s=10)

    rates = tally.rates()
    assert rates.calls_per_s == 3
    assert (rates.calls, rates.error_share, rates.p50_ms) == (20, 0, 50)


def test_an_answer_such_as_not_found_is_no_failure() -> None:
    """Every code other than OK is an error, but only a fault of the callee or the network is a failure."""
    tally = Tally()
    for code, reason, number in (("OK", "", 90), ("NotFound", "GYM_NOT_FOUND", 6), ("Unavailable", "CIRCUIT_OPEN", 4)):
        tally.add(outcome(code, reason), number, span_s=10)

    rates = tally.rates()
    assert rates.error_share == pytest.approx(0.1)
    assert rates.failure_share == pytest.approx(0.04)
    assert rates.outcomes == {"NotFound GYM_NOT_FOUND": 6, "Unavailable CIRCUIT_OPEN": 4}
    assert not is_failing(rates)
    tally.add(outcome("Internal"), 2, span_s=10)
    assert is_failing(tally.rates())


def test_no_calls_have_no_shares() -> None:
    """Without calls, shares and durations are unknown."""
    assert Tally().rates() == Rates()
    assert Rates().error_share is None
