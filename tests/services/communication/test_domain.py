from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from contracts.errors import MessageNotRetryable, MessageRefused, Unavailable
from services.communication.domain import (
    LEASE,
    MAX_ATTEMPTS,
    MAX_BACKOFF_S,
    Attempt,
    Message,
    MessageStatus,
    SmtpOutcome,
    backoff_s,
    state_after,
)
from services.communication.mail_server import ATTEMPT_TIMEOUT_S, QUIT_TIMEOUT_S

if TYPE_CHECKING:
    import random

NOW = datetime(2026, 3, 3, 18, 0, 0, 123456, tzinfo=UTC)
BUSY = SmtpOutcome("The mail server is busy.", remaining=("ada@example.org",))
MESSAGE = Message(
    message_id=UUID(int=1),
    template_key="SESSION_BOOKED",
    status=MessageStatus.QUEUED,
    attempts=0,
    due_time=NOW,
    last_error="",
    is_refused=False,
    may_have_been_sent=False,
    email_message_id="<1@solo60.example>",
    create_time=NOW,
    send_time=None,
)
FAILED = replace(
    MESSAGE, status=MessageStatus.FAILED, attempts=2, last_error="Busy.", due_time=NOW + timedelta(seconds=5)
)


def attempt(round_number: int) -> Attempt:
    """Return an attempt to send one mail to one address."""
    return Attempt(
        message_id=UUID(int=1),
        template_key="SESSION_BOOKED",
        number=round_number + 40,
        round_number=round_number,
        recipients=("ada@example.org",),
        mail=b"",
        correlation_id="",
        traceparent="",
        repeats_in_doubt=True,
    )


@pytest.mark.requirement("A1")
def test_pauses_double_up_to_an_hour_with_full_jitter(rng: random.Random) -> None:
    """A pause is random between 0 and a limit that doubles up to an hour, so that senders do not retry in step."""
    for attempts in range(1, 30):
        limit_s = min(MAX_BACKOFF_S, 2.0 ** (attempts - 1))
        pauses_s = [backoff_s(attempts, rng) for _ in range(500)]
        assert 0 <= min(pauses_s) < 0.1 * limit_s
        assert 0.9 * limit_s < max(pauses_s) <= limit_s


@pytest.mark.requirement("A1")
def test_retries_last_longer_than_half_an_hour(rng: random.Random) -> None:
    """The retries of one mail span more than half an hour, so that a usual outage of the mail server ends no mail."""
    for _ in range(200):
        assert sum(backoff_s(number, rng) for number in range(1, MAX_ATTEMPTS)) > 1800


@pytest.mark.requirement("A1")
def test_a_message_is_retried_until_its_attempts_are_used_up(rng: random.Random) -> None:
    """A failed message is scheduled again until MAX_ATTEMPTS, and is then DEAD with its remaining recipients."""
    for number in range(1, MAX_ATTEMPTS):
        state = state_after(attempt(number), BUSY, NOW, rng)
        assert state.status is MessageStatus.FAILED
        assert state.due_time is not None
        assert state.due_time >= NOW

    last = state_after(attempt(MAX_ATTEMPTS), BUSY, NOW, rng)
    assert (last.status, last.due_time, last.is_refused) == (MessageStatus.DEAD, None, False)
    assert last.remaining == ("ada@example.org",)


def test_a_refusal_is_final_and_stores_the_recipients(rng: random.Random) -> None:
    """A refused message is DEAD after one attempt, and its recipients are stored so that an operator can retry it."""
    state = state_after(attempt(1), SmtpOutcome("Refused.", is_refused=True), NOW, rng)

    assert (state.status, state.is_refused, state.remaining) == (MessageStatus.DEAD, True, ("ada@example.org",))


def test_a_lease_is_longer_than_the_longest_attempt() -> None:
    """The lease exceeds all timeouts of an attempt together, so that no second sender takes a message in progress."""
    assert LEASE.total_seconds() > ATTEMPT_TIMEOUT_S + QUIT_TIMEOUT_S + 5


def test_a_waiting_caller_gets_only_new_failures() -> None:
    """SendEmail reports a failure newer than its call. Otherwise the call waits if the next attempt is due in time."""
    soon = NOW + timedelta(seconds=10)
    with pytest.raises(Unavailable, match=r"Busy\. The message is stored"):
        FAILED.is_sent(known_attempts=1, until=soon)
    assert not FAILED.is_sent(known_attempts=2, until=soon)
    with pytest.raises(Unavailable):
        FAILED.is_sent(known_attempts=2, until=NOW + timedelta(seconds=4))


def test_a_waiting_caller_gets_the_final_status() -> None:
    """SendEmail answers differently for a message that was sent, refused for good, or given up."""
    dead = replace(FAILED, status=MessageStatus.DEAD, due_time=None)
    sent = replace(MESSAGE, status=MessageStatus.SENT, due_time=None, send_time=NOW)

    assert sent.is_sent(known_attempts=0, until=NOW)
    with pytest.raises(Unavailable, match="not retried automatically"):
        dead.is_sent(known_attempts=9, until=NOW)
    with pytest.raises(MessageRefused):
        replace(dead, is_refused=True).is_sent(known_attempts=9, until=NOW)


@pytest.mark.parametrize("status", [MessageStatus.QUEUED, MessageStatus.SENDING, MessageStatus.SENT])
def test_only_a_failed_message_can_be_retried(status: MessageStatus) -> None:
    """RetryMessage rejects a message that is queued, being sent or sent, so that it is not sent twice."""
    FAILED.require_retryable()
    with pytest.raises(MessageNotRetryable, match=status):
        replace(MESSAGE, status=status).require_retryable()
