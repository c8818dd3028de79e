"""Retry: what becomes of a message whose delivery failed, and how long a receiver that is not there is left alone.

A receiver that cannot be reached is no fault of a message, so it burns no attempt: its destination rests, and all its
messages wait. Only answers that may be the message's own fault count; what no repetition mends is given up at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from contracts.errors import MessageTooLarge, RequestInProgress, ServiceError, UnknownError
from mesh.idempotency import KEPT_FOR
from mesh.outbox.message import Status, Verdict

if TYPE_CHECKING:
    import random

    from mesh.outbox.message import Message

MAX_ATTEMPTS = 8
# Full jitter below 1, 3, 9, 27, 81, 243, 729 s: about ten minutes until a message is given up, twenty at most.
FIRST_BACKOFF_S = 1.0
BACKOFF_MULTIPLIER = 3.0
MAX_BACKOFF_S = 900.0
# A receiver forgets keys after a week, and what it has forgotten it would do again: by then it must have been given up.
GIVE_UP_AFTER_S = KEPT_FOR.total_seconds() - 86_400.0

FIRST_REST_S = 0.1
MAX_REST_S = 5.0

# The receiver, or the way to it, is not there now.
NOT_NOW = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.ABORTED,
    }
)
# May be the message's fault, the receiver's, or that of a roll-out or a key rotation under way.
COUNTED = frozenset(
    {
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DATA_LOSS,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
    }
)
DELIVERED = Verdict(Status.DELIVERED, 0)


def judge(message: Message, error: Exception, rng: random.Random) -> Verdict:
    """Decide what becomes of a message whose delivery raised `error`."""
    sentence = sentence_of(error)
    if message.age_s > GIVE_UP_AFTER_S:
        return Verdict(Status.DEAD, message.attempts, f"Not delivered within its time. {sentence}")
    if is_not_now(error):
        pause_s = error.retry_after_s if isinstance(error, ServiceError) else None
        return Verdict(Status.PENDING, message.attempts, sentence, pause_s or FIRST_REST_S)
    attempts = message.attempts + 1
    if isinstance(error, ServiceError) and error.code not in COUNTED:
        return Verdict(Status.DEAD, attempts, sentence)
    if attempts >= MAX_ATTEMPTS:
        return Verdict(Status.DEAD, attempts, sentence)
    return Verdict(Status.PENDING, attempts, sentence, backoff_s(attempts, rng))


def is_not_now(error: Exception) -> bool:
    """Tell whether a failure says nothing about the message: it may be delivered as soon as the receiver can."""
    return isinstance(error, ServiceError) and error.code in NOT_NOW and not isinstance(error, MessageTooLarge)


def backoff_s(attempts: int, rng: random.Random) -> float:
    """Return the pause in seconds after so many failed attempts, with full jitter (AWS, "Exponential backoff")."""
    return rng.uniform(0, min(MAX_BACKOFF_S, FIRST_BACKOFF_S * BACKOFF_MULTIPLIER ** (attempts - 1)))


def sentence_of(error: Exception) -> str:
    """Say how a delivery failed, in no words but those of our own contracts."""
    if isinstance(error, UnknownError):
        return f"{error.code.name}."
    if isinstance(error, ServiceError):
        return f"{error.code.name} {error.reason_name()}: {error.message}"
    return f"{type(error).__name__}."


@dataclass(slots=True)
class _Rest:
    until: float
    failures: int


class Rests:
    """Which destinations are left alone, and until when; times in seconds on any one clock."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._rests: dict[str, _Rest] = {}

    def failed(self, destination: str, error: Exception, now: float) -> None:
        """Leave a destination alone for as long as it says, and else twice as long each time, up to 5 s."""
        if isinstance(error, RequestInProgress) or self.is_resting(destination, now):
            return  # about one message alone; or a call that was under way when the rest began
        rest = self._rests.setdefault(destination, _Rest(now, 0))
        rest.failures += 1
        longest_s = min(MAX_REST_S, FIRST_REST_S * 2.0 ** (rest.failures - 1))
        asked_s = (error.retry_after_s if isinstance(error, ServiceError) else None) or 0.0
        rest.until = now + max(asked_s, self._rng.uniform(longest_s / 2, longest_s))

    def answered(self, destination: str) -> None:
        """Note that a destination is there again."""
        self._rests.pop(destination, None)

    def is_resting(self, destination: str, now: float) -> bool:
        """Whether a destination is left alone now."""
        rest = self._rests.get(destination)
        return rest is not None and now < rest.until

    def resting(self, now: float) -> list[str]:
        """Return the destinations that are left alone now."""
        return [destination for destination, rest in self._rests.items() if now < rest.until]

    def next_end_s(self, now: float) -> float | None:
        """Return in how many seconds the next rest ends; None where nothing rests."""
        return min((rest.until - now for rest in self._rests.values() if now < rest.until), default=None)
