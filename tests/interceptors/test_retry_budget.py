from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interceptors.retry_budget import RetryBudget, RetryBudgets

CALLS = 20_000


def test_ten_further_attempts_at_once_are_allowed() -> None:
    """While more than half of the twenty tokens are there."""
    budget = RetryBudget()

    assert [budget.spend() for _ in range(12)] == [True] * 10 + [False] * 2
    assert budget.tokens == 10


def test_ten_successes_pay_for_one() -> None:
    """A token ratio of 0.1."""
    budget = RetryBudget()
    while budget.spend():
        pass
    budget.record(failed=False)
    assert budget.spend()

    for _ in range(10):
        assert not budget.spend()
        budget.record(failed=False)
    assert budget.spend()


def test_a_callee_that_fails_gets_no_further_attempts() -> None:
    """From the tenth failure on, until it has succeeded often enough."""
    budget = RetryBudget()
    for _ in range(100):
        budget.record(failed=True)
    assert budget.tokens == 0

    for _ in range(99):
        budget.record(failed=False)
        assert not budget.spend()
    for _ in range(2):
        budget.record(failed=False)

    assert budget.spend()


@given(st.lists(st.sampled_from(["spend", "good", "bad"])))
def test_it_is_never_overdrawn_and_never_overfull(steps: list[str]) -> None:
    """As gRFC A6 has it: tokens stay between 0 and the maximum; at most 10 and a tenth of the successes are spent."""
    budget, spent, good = RetryBudget(), 0, 0
    for step in steps:
        if step == "spend":
            spent += budget.spend()
        else:
            budget.record(failed=step == "bad")
            good += step == "good"
        assert 0 <= budget.tokens <= 20

    assert spent <= 10 + 0.1 * good + 1


def test_each_service_has_one_budget() -> None:
    """All channels of a process share it."""
    budgets = RetryBudgets()

    assert budgets.of("a.B") is budgets.of("a.B")
    assert budgets.of("a.B") is not budgets.of("a.C")


@pytest.mark.parametrize(("slow", "most_extra"), [(1.0, 0.05), (3.0, 0.1)])
def test_the_extra_load_is_bounded(slow: float, most_extra: float) -> None:
    """At most 5 % where the delay is the 95th percentile, and a tenth however slow the callee becomes."""
    chance = Random(20)  # noqa: S311 - no secret is drawn
    delay_s = sorted(chance.lognormvariate(-3, 1) for _ in range(CALLS))[int(0.95 * CALLS)]
    budget, hedges = RetryBudget(), 0
    for _ in range(CALLS):
        latency_s = slow * chance.lognormvariate(-3, 1)
        hedges += latency_s > delay_s and budget.spend()
        budget.record(failed=False)

    assert 0 < hedges / CALLS <= most_extra * 1.1
