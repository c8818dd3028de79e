"""Messages: what becomes of one, from stored to sent or given up, and when it is tried again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Self
from uuid import UUID

from contracts.errors import MessageNotRetryable, MessageRefused, Unavailable

if TYPE_CHECKING:
    import random

# With the pauses below, a mail server may be down for about two hours before a message is given up.
MAX_ATTEMPTS = 16
FIRST_BACKOFF_S = 1.0
MAX_BACKOFF_S = 3600.0
# An attempt is over long before: see PATIENCE_S of the mail server.
LEASE = timedelta(seconds=30)
# A sent message can be looked at for so long, counted from when it was stored; a failed one until it is sent.
KEPT_FOR = timedelta(days=30)
NOT_REPEATED = "The mail may have been sent, and was not repeated."
EXPIRED = "The message expired: it was not sent within the time in which it makes sense."


class Status(StrEnum):
    """How far a message has come; the names are those of the contract's MessageStatus."""

    QUEUED = "QUEUED"
    SENDING = "SENDING"
    SENT = "SENT"
    FAILED = "FAILED"
    DEAD = "DEAD"
    EXPIRED = "EXPIRED"


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to be stored: the mail as it goes over the wire, to whom, and for which call.

    `repeats_in_doubt` says whether an attempt with an unknown outcome is repeated. After
    `expire_time` the message makes no sense any more; None: it always does.
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


@dataclass(frozen=True, slots=True)
class Message:
    """A stored message, without what is personal in it."""

    message_id: UUID
    template_key: str
    status: Status
    attempts: int
    due_time: datetime | None
    last_error: str
    is_refused: bool
    may_have_been_sent: bool
    email_message_id: str
    create_time: datetime
    send_time: datetime | None
    expire_time: datetime | None = None

    def ensure_retryable(self) -> None:
        """Raise MessageNotRetryable unless the message has failed and still makes sense."""
        if self.status is Status.EXPIRED:
            raise MessageNotRetryable("The message expired: it makes no sense any more, and its text is erased.")
        if self.status not in (Status.FAILED, Status.DEAD):
            raise MessageNotRetryable(f"The message is {self.status}: only one that failed can be retried.")

    def is_sent(self, *, known_attempts: int, until: datetime) -> bool:
        """Tell somebody who waits whether the message is sent; False: it is worth waiting on.

        Raises MessageRefused when it never will be, because it is refused or has expired, and Unavailable when an
        attempt after the first `known_attempts` has failed, or when the next one is due only after `until`.
        """
        facts = {"message_id": str(self.message_id)}
        if self.is_refused or self.status is Status.EXPIRED:
            raise MessageRefused(self.last_error, metadata=facts)
        if self.status is Status.DEAD:
            raise Unavailable(f"{self.last_error} The message is given up.", metadata=facts)
        is_late = self.due_time is not None and self.due_time > until
        if self.status is Status.FAILED and (self.attempts > known_attempts or is_late):
            raise Unavailable(f"{self.last_error} The message is stored and will be tried again.", metadata=facts)
        return self.status is Status.SENT


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to send one message, made under a lease.

    `number` counts all attempts of the message from 1 and proves that the lease is held: a later attempt has a higher
    one. `round_number` counts from the last time that an operator asked for new attempts. With `is_lost` it is the
    attempt of a sender that let its lease run out, and only to be judged: the message must not be sent twice. So is one
    that `is_expired`.
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
    expire_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the mail server made of an attempt.

    `error` is a sentence without addresses, empty where all went well. `remaining` are the recipients to try again;
    without any, the message was accepted or, if `is_refused`, will never be. With `is_in_doubt` the mail was on its way
    when the server fell silent: whether it was accepted, nobody can find out (RFC 1047). With `is_server_trouble` the
    server cannot be reached or turns us away, whatever the mail.
    """

    error: str = ""
    remaining: tuple[str, ...] = ()
    is_refused: bool = False
    is_in_doubt: bool = False
    is_server_trouble: bool = False

    @classmethod
    def of_lost(cls, attempt: Attempt) -> Self:
        """Return all that is known of an attempt whose sender died or lost its lease."""
        return cls("The last attempt was cut off.", attempt.recipients, is_in_doubt=True)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state of a message after an attempt."""

    status: Status
    error: str = ""
    is_refused: bool = False
    may_have_been_sent: bool = False
    due_time: datetime | None = None
    remaining: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many messages wait to be sent, for how many seconds the oldest does, and how many are given up."""

    waiting: int
    oldest_s: float
    dead: int


def judge(attempt: Attempt, outcome: Outcome, now: datetime, rng: random.Random) -> Verdict:
    """Decide what becomes of a message whose attempt ended so."""
    if attempt.is_expired:
        return Verdict(Status.EXPIRED, EXPIRED, may_have_been_sent=attempt.is_lost)
    if outcome.is_refused:
        return Verdict(Status.DEAD, outcome.error, is_refused=True, remaining=attempt.recipients)
    if not outcome.remaining:
        return Verdict(Status.SENT, outcome.error)
    if outcome.is_in_doubt and not attempt.repeats_in_doubt:
        error = f"{outcome.error} {NOT_REPEATED}"
        return Verdict(Status.DEAD, error, may_have_been_sent=True, remaining=outcome.remaining)
    if attempt.round_number >= MAX_ATTEMPTS:
        return Verdict(Status.DEAD, outcome.error, remaining=outcome.remaining)
    due_time = now + timedelta(seconds=backoff_s(attempt.round_number, rng))
    if attempt.expire_time is not None:
        due_time = min(due_time, max(attempt.expire_time, now))  # then it is seen at once to have expired
    return Verdict(Status.FAILED, outcome.error, due_time=due_time, remaining=outcome.remaining)


def backoff_s(attempts: int, rng: random.Random) -> float:
    """Return the pause in seconds after so many failed attempts: doubling, with full jitter, at most an hour."""
    longest_s: float = min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2 ** (attempts - 1))
    return rng.uniform(0, longest_s)


@dataclass(frozen=True, slots=True)
class PageMark:
    """Where a page of messages ended: the next one begins with the message before this one in time."""

    create_time: datetime
    message_id: UUID

    @classmethod
    def of(cls, message: Message) -> Self:
        return cls(message.create_time, message.message_id)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the `str` of a mark; raise ValueError for any other text."""
        create_time, _, message_id = text.partition("_")
        return cls(datetime.fromisoformat(create_time), UUID(message_id))

    def __str__(self) -> str:
        return f"{self.create_time.isoformat()}_{self.message_id}"
