from __future__ import annotations

import random
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import errors
from contracts.errors import ServiceError, UnknownError
from mesh.outbox.message import Message, Status
from mesh.outbox.retry import (
    FIRST_REST_S,
    GIVE_UP_AFTER_S,
    MAX_ATTEMPTS,
    MAX_BACKOFF_S,
    MAX_REST_S,
    Rests,
    backoff_s,
    judge,
)

DESTINATION = "solo60.example.v1.EchoService/Keep"
NOT_NOW = [
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
    """Make chance that is the same each time."""
    return random.Random(seed)  # noqa: S311 - it spreads pauses


def message(attempts: int = 0, age_s: float = 0.0) -> Message:
    """Make a message."""
    return Message(uuid.uuid4(), DESTINATION, b"", "", None, "correlation", "", attempts=attempts, age_s=age_s)


@pytest.mark.parametrize("error", NOT_NOW, ids=lambda error: type(error).__name__)
def test_what_says_nothing_about_a_message_burns_no_attempt(error: ServiceError) -> None:
    """Part 1: outages, open breakers and pushback leave the attempts as they are, however many there were."""
    verdict = judge(message(attempts=MAX_ATTEMPTS - 1), error, rng())

    assert (verdict.status, verdict.attempts) == (Status.PENDING, MAX_ATTEMPTS - 1)
    assert verdict.pause_s == (error.retry_after_s or FIRST_REST_S)


@pytest.mark.parametrize("error", COUNTED, ids=lambda error: type(error).__name__)
def test_what_may_be_a_messages_fault_counts(error: Exception) -> None:
    """Eight of them and it is given up."""
    assert judge(message(attempts=MAX_ATTEMPTS - 2), error, rng()).status is Status.PENDING
    assert judge(message(attempts=MAX_ATTEMPTS - 1), error, rng()).status is Status.DEAD


@pytest.mark.parametrize("error", FINAL, ids=lambda error: type(error).__name__)
def test_what_no_repetition_mends_is_final(error: Exception) -> None:
    """Such codes go to the dead letters after one attempt."""
    verdict = judge(message(), error, rng())

    assert (verdict.status, verdict.attempts) == (Status.DEAD, 1)


@pytest.mark.parametrize("error", [*NOT_NOW, *COUNTED], ids=lambda error: type(error).__name__)
def test_a_message_is_given_up_before_its_receiver_forgets_its_key(error: Exception) -> None:
    """A repetition after the receiver has forgotten would act twice."""
    assert judge(message(age_s=GIVE_UP_AFTER_S + 1), error, rng()).status is Status.DEAD


@pytest.mark.requirement("S4")
def test_foreign_words_do_not_get_into_the_last_error() -> None:
    """What is not a sentence of our contracts may hold anything."""
    for error in (UnknownError(errors.Internal.code, "postgres://user:secret@host"), LookupError("secret")):
        assert "secret" not in judge(message(), error, rng()).error


@given(attempts=st.integers(1, 200), seed=st.integers())
def test_pauses_have_full_jitter_below_a_ceiling(attempts: int, seed: int) -> None:
    """From 1 s on up to 15 minutes."""
    assert 0 <= backoff_s(attempts, rng(seed)) <= min(MAX_BACKOFF_S, 3.0 ** (attempts - 1))


class Ceiling(random.Random):
    """Chance that always draws the longest pause."""

    def uniform(self, a: float, b: float) -> float:
        return max(a, b)


def test_a_destination_rests_longer_each_time_until_it_answers() -> None:
    """Part 1: what is not there is not asked again and again."""
    rests, now = Rests(Ceiling()), 0.0
    pauses = []
    for _ in range(10):
        rests.failed(DESTINATION, errors.Unavailable(), now)
        pause_s = rests.next_end_s(now)
        assert pause_s is not None
        pauses.append(pause_s)
        now += pause_s
    rests.answered(DESTINATION)
    rests.failed(DESTINATION, errors.Unavailable(), now)

    assert pauses == [pytest.approx(min(MAX_REST_S, FIRST_REST_S * 2**n)) for n in range(10)]
    assert rests.next_end_s(now) == pytest.approx(FIRST_REST_S)


def test_many_calls_that_fail_at_once_are_one_failure() -> None:
    """A destination that fails thirty calls under way rests as long as one that fails one."""
    rests = Rests(Ceiling())
    for _ in range(30):
        rests.failed(DESTINATION, errors.Unavailable(), 0.0)

    assert rests.next_end_s(0.0) == pytest.approx(FIRST_REST_S)


def test_pushback_is_honoured() -> None:
    """Who says when to come back is left alone until then."""
    rests = Rests(rng())
    rests.failed(DESTINATION, errors.Overloaded(retry_after_s=60.0), 0.0)

    assert rests.is_resting(DESTINATION, 59.9)
    assert not rests.is_resting(DESTINATION, 60.1)
    assert rests.resting(30.0) == [DESTINATION]


def test_a_message_in_progress_lets_its_destination_go_on() -> None:
    """A duplicate that is being worked on says nothing about others."""
    rests = Rests(rng())
    rests.failed(DESTINATION, errors.RequestInProgress(retry_after_s=0.5), 0.0)

    assert not rests.is_resting(DESTINATION, 0.0)
