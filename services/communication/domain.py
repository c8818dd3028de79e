"""Domain of the communication service: messages, their statuses, and the times of their attempts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Self

from contracts.errors import MessageNotRetryable, MessageRefused, Unavailable

if TYPE_CHECKING:
    import random
    from uuid import UUID

# With the pauses below, a message is retried for about two hours on average before it is DEAD.
MAX_ATTEMPTS = 16
FIRST_BACKOFF_S = 1.0
MAX_BACKOFF_S = 3600.0
# Longer than an attempt can take: see ATTEMPT_TIMEOUT_S in mail_server.py.
LEASE = timedelta(seconds=30)
# Retention of sent and expired messages, counted from their creation. Other messages are never deleted.
RETENTION = timedelta(days=30)
NOT_REPEATED = "The mail may have been sent, so it was not sent again."
EXPIRED = "The message expired before it could be sent."


class MessageStatus(StrEnum):
    """Status of a message. The names match the contract's MessageStatus."""

    QUEUED = "QUEUED"
    SENDING = "SENDING"
    SENT = "SENT"
    FAILED = "FAILED"
    DEAD = "DEAD"
    EXPIRED = "EXPIRED"
    SUPPRESSED = "SUPPRESSED"


# Errors of messages that are given up without an attempt, by status.
NOT_SENT = {
    MessageStatus.EXPIRED: EXPIRED,
    MessageStatus.SUPPRESSED: "The user has switched off mail of this category.",
}


@dataclass(frozen=True, slots=True)
class NewMessage:
    """Message to store: the mail as sent over the wire, its recipients, and the ids of the call that stores it.

    `repeats_in_doubt` says whether an attempt with an unknown outcome is repeated. The message is not sent after
    `expire_time`. None means that the message never expires. `user_id` is the recipient's id, if the recipient has an
    account: the message is not sent if this user has switched off `category`. `subject_user_id` is the id of another
    user whom the text names.
    """

    message_id: UUID
    template_key: str
    recipients: tuple[str, ...]
    mail: bytes
    email_message_id: str
    correlation_id: str
    traceparent: str
    create_time: datetime
    repeats_in_doubt: bool
    expire_time: datetime | None = None
    user_id: UUID | None = None
    subject_user_id: UUID | None = None
    category: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """Stored message without its personal data."""

    message_id: UUID
    template_key: str
    status: MessageStatus
    attempts: int
    due_time: datetime | None
    last_error: str
    is_refused: bool
    may_have_been_sent: bool
    email_message_id: str
    create_time: datetime
    send_time: datetime | None
    expire_time: datetime | None = None

    def require_retryable(self) -> None:
        """Raise MessageNotRetryable unless the status is FAILED or DEAD."""
        if self.status is MessageStatus.EXPIRED:
            raise MessageNotRetryable("The message expired, and its text is erased: create a new message.")
        if self.status not in (MessageStatus.FAILED, MessageStatus.DEAD):
            raise MessageNotRetryable(f"The message is {self.status}: only FAILED and DEAD messages can be retried.")

    def is_sent(self, *, known_attempts: int, until: datetime) -> bool:
        """Return whether the message is sent or suppressed. On False, the caller can wait for the next attempt.

        Raises MessageRefused if the message was refused or has expired, so that it will never be sent. Raises
        Unavailable if it is DEAD, if an attempt after the first `known_attempts` has failed, or if the next attempt
        is due after `until`.
        """
        facts = {"message_id": str(self.message_id)}
        if self.is_refused or self.status is MessageStatus.EXPIRED:
            raise MessageRefused(self.last_error, metadata=facts)
        if self.status is MessageStatus.DEAD:
            raise Unavailable(f"{self.last_error} The message is not retried automatically.", metadata=facts)
        is_late = self.due_time is not None and self.due_time > until
        if self.status is MessageStatus.FAILED and (self.attempts > known_attempts or is_late):
            raise Unavailable(f"{self.last_error} The message is stored and will be retried.", metadata=facts)
        return self.status in (MessageStatus.SENT, MessageStatus.SUPPRESSED)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to send one message, made under a lease.

    `number` counts the attempts of the message from 1, and proves that the lease is held: every later attempt has a
    higher number. `round_number` restarts from 1 after each RetryMessage call.

    An attempt with `is_lost`, `is_expired` or `is_suppressed` is not sent, only judged. `is_lost`: the lease of its
    sender expired, and the mail must not be sent twice. `is_suppressed`: the user has switched off its category.
    """

    message_id: UUID
    template_key: str
    number: int
    round_number: int
    recipients: tuple[str, ...]
    mail: bytes
    correlation_id: str
    traceparent: str
    repeats_in_doubt: bool
    is_lost: bool = False
    is_expired: bool = False
    is_suppressed: bool = False
    expire_time: datetime | None = None

    @property
    def is_only_judged(self) -> bool:
        """Whether the mail must not be sent."""
        return self.is_lost or self.is_expired or self.is_suppressed


@dataclass(frozen=True, slots=True)
class SmtpOutcome:
    """Result of an attempt at the mail server.

    `error` is a sentence without addresses, empty on success. `remaining` are the recipients to retry. If `remaining`
    is empty, the mail was accepted, or, with `is_refused`, will never be accepted.

    `is_in_doubt`: the connection failed while the mail was being handed over, so it is unknown whether the server
    accepted it (RFC 1047). `is_server_trouble`: the server is unreachable or rejects every mail of this service.
    """

    error: str = ""
    remaining: tuple[str, ...] = ()
    is_refused: bool = False
    is_in_doubt: bool = False
    is_server_trouble: bool = False

    @classmethod
    def of_lost(cls, attempt: Attempt) -> Self:
        """Return the outcome of an attempt after its sender died or lost its lease."""
        return cls("The last attempt was interrupted.", attempt.recipients, is_in_doubt=True)


@dataclass(frozen=True, slots=True)
class MessageState:
    """State of a message after an attempt."""

    status: MessageStatus
    error: str = ""
    is_refused: bool = False
    may_have_been_sent: bool = False
    due_time: datetime | None = None
    remaining: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Backlog:
    """Number of waiting messages, age of the oldest one in seconds, and number of dead messages."""

    waiting: int
    oldest_s: float
    dead: int


def state_after(attempt: Attempt, outcome: SmtpOutcome, now: datetime, rng: random.Random) -> MessageState:
    """Return the state of a message after `attempt` ended with `outcome`."""
    if attempt.is_expired or attempt.is_suppressed:
        status = MessageStatus.EXPIRED if attempt.is_expired else MessageStatus.SUPPRESSED
        return MessageState(status, NOT_SENT[status], may_have_been_sent=attempt.is_lost)
    if outcome.is_refused:
        return MessageState(MessageStatus.DEAD, outcome.error, is_refused=True, remaining=attempt.recipients)
    if not outcome.remaining:
        return MessageState(MessageStatus.SENT, outcome.error)
    if outcome.is_in_doubt and not attempt.repeats_in_doubt:
        error = f"{outcome.error} {NOT_REPEATED}"
        return MessageState(MessageStatus.DEAD, error, may_have_been_sent=True, remaining=outcome.remaining)
    if attempt.round_number >= MAX_ATTEMPTS:
        return MessageState(MessageStatus.DEAD, outcome.error, remaining=outcome.remaining)
    due_time = now + timedelta(seconds=backoff_s(attempt.round_number, rng))
    if attempt.expire_time is not None:
        due_time = min(due_time, max(attempt.expire_time, now))  # so that the message expires on time
    return MessageState(MessageStatus.FAILED, outcome.error, due_time=due_time, remaining=outcome.remaining)


def backoff_s(attempts: int, rng: random.Random) -> float:
    """Return the pause in seconds after `attempts` failures: exponential with full jitter, at most an hour."""
    max_s: float = min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2 ** (attempts - 1))
    return rng.uniform(0, max_s)
