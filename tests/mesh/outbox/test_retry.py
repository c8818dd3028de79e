from __future__ import annotations

import random
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import errors
from contracts.errors import ServiceError, UnknownError
from contracts.policy import ContractError
from mesh.outbox.message import DeliveryStatus, OutboxMessage
from mesh.outbox.retry import (
    FIRST_PAUSE_S,
    GIVE_UP_AFTER_S,
    MAX_ATTEMPTS,
    MAX_BACKOFF_S,
    MAX_PAUSE_S,
    DestinationPauses,
    backoff_s,
    judge,
)

DESTINATION = "solo60.example.v1.EchoService/Keep"
UNAVAILABLE = [
    errors.Unavailable(),
    errors.CircuitOpen(retry_after_s=3.0),
    errors.RateLimited(retry_after_s=3.0),
    errors.Overloaded(),
    errors.RequestInProgress(retry_after_s=0.5),
    errors.Cancelled(),
]
COUNTED = [
    errors.DeadlineExceeded(),
    errors.Internal(),
    errors.Unimplemented(),
    errors.Unauthenticated(),
    errors.ScopeMissing(),
    LookupError("a fault of ours"),
]
FINAL = [
    errors.InvalidRequest(),
    errors.UserNotFound(),
    errors.SlotTaken(),
    errors.CardDeclined(),
    errors.IdempotencyKeyReused(),
    errors.MessageTooLarge(),
]


def rng(seed: int = 1) -> random.Random:
    """Make a deterministic random generator."""
    return random.Random(seed)  # noqa: S311 - jitter, not security


def message(attempts: int = 0, age_s: float = 0.0) -> OutboxMessage:
    """Make a message of this age with this number of attempts."""
    return OutboxMessage(uuid.uuid4(), DESTINATION, b"", "", None, "correlation", "", attempts=attempts, age_s=age_s)


@pytest.mark.parametrize("error", UNAVAILABLE, ids=lambda error: type(error).__name__)
def test_errors_unrelated_to_a_message_cost_no_attempt(error: ServiceError) -> None:
    """An outage, an open breaker or pushback does not count as an attempt. A requested delay becomes the pause."""
    verdict = judge(message(attempts=MAX_ATTEMPTS - 1), error, rng())

    assert (verdict.status, verdict.attempts) == (DeliveryStatus.PENDING, MAX_ATTEMPTS - 1)
    assert verdict.pause_s == (error.retry_after_s or FIRST_PAUSE_S)


@pytest.mark.parametrize("error", COUNTED, ids=lambda error: type(error).__name__)
def test_errors_that_a_message_may_cause_count_as_attempts(error: Exception) -> None:
    """An error that the message may have caused counts as an attempt. The eighth such error makes a dead letter."""
    assert judge(message(attempts=MAX_ATTEMPTS - 2), error, rng()).status is DeliveryStatus.PENDING
    assert judge(message(attempts=MAX_ATTEMPTS - 1), error, rng()).status is DeliveryStatus.DEAD


def test_a_fault_of_a_contract_is_described() -> None:
    """The error of a message to a method that no longer exists names the method."""
    error = ContractError("No imported contract has a method solo60.trainer.v1.TrainerService/Book.")

    assert judge(message(), error, rng()).error == str(error)


@pytest.mark.parametrize("error", FINAL, ids=lambda error: type(error).__name__)
def test_permanent_errors_are_final(error: Exception) -> None:
    """A permanent error makes a message a dead letter after one attempt."""
    verdict = judge(message(), error, rng())

    assert (verdict.status, verdict.attempts) == (DeliveryStatus.DEAD, 1)


@pytest.mark.parametrize("error", [*UNAVAILABLE, *COUNTED], ids=lambda error: type(error).__name__)
def test_a_message_is_given_up_before_its_receiver_deletes_its_key(error: Exception) -> None:
    """A message is given up before its receiver deletes its key, because a later attempt would act twice."""
    assert judge(message(age_s=GIVE_UP_AFTER_S + 1), error, rng()).status is DeliveryStatus.DEAD


@pytest.mark.requirement("S4")
def test_error_texts_from_outside_the_contracts_are_not_stored() -> None:
    """Error texts from outside the contracts are not stored, because they may contain secrets."""
    for error in (UnknownError(errors.Internal.code, "postgres://user:secret@host"), LookupError("secret")):
        assert "secret" not in judge(message(), error, rng()).error


@given(attempts=st.integers(1, 200), seed=st.integers())
def test_pauses_have_full_jitter_below_a_ceiling(attempts: int, seed: int) -> None:
    """Pauses have full jitter below a ceiling that grows from 1 s to 15 minutes."""
    assert 0 <= backoff_s(attempts, rng(seed)) <= min(MAX_BACKOFF_S, 3.0 ** (attempts - 1))


class LongestPauses(random.Random):
    """Random generator that always draws the longest pause."""

    def uniform(self, a: float, b: float) -> float:
        return max(a, b)


def test_pauses_of_an_unavailable_destination_double_until_it_answers() -> None:
    """Pauses of an unavailable destination double up to a limit and start over after an answer."""
    pauses, now = DestinationPauses(LongestPauses()), 0.0
    lengths_s = []
    for _ in range(10):
        pauses.record_failure(DESTINATION, errors.Unavailable(), now)
        pause_s = pauses.next_end_s(now)
        assert pause_s is not None
        lengths_s.append(pause_s)
        now += pause_s
    pauses.record_response(DESTINATION)
    pauses.record_failure(DESTINATION, errors.Unavailable(), now)

    assert lengths_s == [pytest.approx(min(MAX_PAUSE_S, FIRST_PAUSE_S * 2**n)) for n in range(10)]
    assert pauses.next_end_s(now) == pytest.approx(FIRST_PAUSE_S)


def test_concurrent_failures_count_as_one() -> None:
    """Thirty concurrent failures of a destination cause the same pause as one."""
    pauses = DestinationPauses(LongestPauses())
    for _ in range(30):
        pauses.record_failure(DESTINATION, errors.Unavailable(), 0.0)

    assert pauses.next_end_s(0.0) == pytest.approx(FIRST_PAUSE_S)


def test_pushback_is_honoured() -> None:
    """A destination that sends pushback is not called before the requested time."""
    pauses = DestinationPauses(rng())
    pauses.record_failure(DESTINATION, errors.Overloaded(retry_after_s=60.0), 0.0)

    assert pauses.is_paused(DESTINATION, 59.9)
    assert not pauses.is_paused(DESTINATION, 60.1)
    assert pauses.paused(30.0) == [DESTINATION]


def test_a_message_in_progress_does_not_pause_its_destination() -> None:
    """A message that the receiver is already processing does not pause its destination."""
    pauses = DestinationPauses(rng())
    pauses.record_failure(DESTINATION, errors.RequestInProgress(retry_after_s=0.5), 0.0)

    assert not pauses.is_paused(DESTINATION, 0.0)
