from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interceptors.retry_budget import RetryBudget, RetryBudgets

CALLS = 20_000


def test_ten_further_attempts_at_once_are_allowed() -> None:
    """A full budget of 20 tokens allows ten further attempts, because more than half of its tokens must be left."""
    budget = RetryBudget()

    assert [budget.spend() for _ in range(12)] == [True] * 10 + [False] * 2
    assert budget._tokens == 10


def test_ten_successes_pay_for_one_attempt() -> None:
    """Ten successes pay for one further attempt, by a token ratio of 0.1."""
    budget = RetryBudget()
    while budget.spend():
        pass
    budget.record(failed=False)
    assert budget.spend()

    for _ in range(10):
        assert not budget.spend()
        budget.record(failed=False)
    assert budget.spend()


def test_a_failing_callee_gets_no_further_attempts() -> None:
    """After 100 failures, no further attempt is allowed before 101 successes."""
    budget = RetryBudget()
    for _ in range(100):
        budget.record(failed=True)
    assert budget._tokens == 0

    for _ in range(99):
        budget.record(failed=False)
        assert not budget.spend()
    for _ in range(2):
        budget.record(failed=False)

    assert budget.spend()


@given(st.lists(st.sampled_from(["spend", "good", "bad"])))
def test_the_budget_is_never_overdrawn_and_never_overfull(steps: list[str]) -> None:
    """The budget always has 0 to 20 tokens, and allows at most 10 attempts plus a tenth of the successes (gRFC A6)."""
    budget, spent, good = RetryBudget(), 0, 0
    for step in steps:
        if step == "spend":
            spent += budget.spend()
        else:
            budget.record(failed=step == "bad")
            good += step == "good"
        assert 0 <= budget._tokens <= 20

    assert spent <= 10 + 0.1 * good + 1


def test_each_service_has_one_budget() -> None:
    """All channels of a process share one budget per service."""
    budgets = RetryBudgets()

    assert budgets.of("a.B") is budgets.of("a.B")
    assert budgets.of("a.B") is not budgets.of("a.C")


@pytest.mark.parametrize(("slow", "most_extra"), [(1.0, 0.05), (3.0, 0.1)])
def test_the_extra_load_is_bounded(slow: float, most_extra: float) -> None:
    """Hedges add at most 5 % load at the 95th percentile of latency, and a tenth at any latency."""
    rng = Random(20)  # noqa: S311 - no secret is drawn
    delay_s = sorted(rng.lognormvariate(-3, 1) for _ in range(CALLS))[int(0.95 * CALLS)]
    budget, hedges = RetryBudget(), 0
    for _ in range(CALLS):
        latency_s = slow * rng.lognormvariate(-3, 1)
        hedges += latency_s > delay_s and budget.spend()
        budget.record(failed=False)

    assert 0 < hedges / CALLS <= most_extra * 1.1
