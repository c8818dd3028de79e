"""Retry rules: verdicts on failed deliveries, and pauses for unavailable destinations.

An unavailable receiver is not the message's fault: the attempt does not count, and all messages for that destination
wait. Errors that a retry may fix count as attempts. All other errors make the message a dead letter at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from contracts.codes import COUNTED_ATTEMPTS, RECEIVER_UNAVAILABLE
from contracts.errors import MessageTooLarge, RequestInProgress, ServiceError, UnknownError
from contracts.policy import ContractError
from mesh.data.idempotency import RETENTION
from mesh.outbox.message import DeliveryStatus, Verdict

if TYPE_CHECKING:
    import random

    from mesh.outbox.message import OutboxMessage

MAX_ATTEMPTS = 8
# Full jitter below 1, 3, 9, 27, 81, 243 and 729 s: a message becomes a dead letter after about ten minutes, at most
# twenty.
FIRST_BACKOFF_S = 1.0
BACKOFF_MULTIPLIER = 3.0
MAX_BACKOFF_S = 900.0
# A receiver deletes idempotency keys after a week and would then act again. Messages become dead letters a day earlier.
GIVE_UP_AFTER_S = RETENTION.total_seconds() - 86_400.0

FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 5.0


def judge(message: OutboxMessage, error: Exception, rng: random.Random) -> Verdict:
    """Return the verdict on a message after its delivery raised `error`."""
    description = describe_error(error)
    if message.age_s > GIVE_UP_AFTER_S:
        return Verdict(DeliveryStatus.DEAD, message.attempts, f"Not delivered in time. {description}")
    if is_unavailable(error):
        pause_s = error.retry_after_s if isinstance(error, ServiceError) else None
        return Verdict(DeliveryStatus.PENDING, message.attempts, description, pause_s or FIRST_PAUSE_S)
    attempts = message.attempts + 1
    if isinstance(error, ServiceError) and error.code not in COUNTED_ATTEMPTS:
        return Verdict(DeliveryStatus.DEAD, attempts, description)
    if attempts >= MAX_ATTEMPTS:
        return Verdict(DeliveryStatus.DEAD, attempts, description)
    return Verdict(DeliveryStatus.PENDING, attempts, description, backoff_s(attempts, rng))


def is_unavailable(error: Exception) -> bool:
    """Return whether an error concerns only the availability of the receiver, not the message."""
    return (
        isinstance(error, ServiceError)
        and error.code in RECEIVER_UNAVAILABLE
        and not isinstance(error, MessageTooLarge)
    )


def backoff_s(attempts: int, rng: random.Random) -> float:
    """Return the pause in seconds after `attempts` failed attempts, with full jitter.

    Source: AWS, "Exponential Backoff And Jitter".
    """
    return rng.uniform(0, min(MAX_BACKOFF_S, FIRST_BACKOFF_S * BACKOFF_MULTIPLIER ** (attempts - 1)))


def describe_error(error: Exception) -> str:
    """Return a description of an error, with text of our contracts only: other text may contain personal data."""
    if isinstance(error, UnknownError):
        return f"{error.code.name}."
    if isinstance(error, ServiceError):
        return f"{error.code.name} {error.reason_name()}: {error.message}"
    if isinstance(error, ContractError):
        return str(error)
    return f"{type(error).__name__}."


@dataclass(slots=True)
class _Pause:
    until: float
    failures: int


class DestinationPauses:
    """Pauses of unavailable destinations. All times are in seconds on the caller's clock."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._pauses: dict[str, _Pause] = {}

    def record_failure(self, destination: str, error: Exception, now: float) -> None:
        """Pause a destination for up to 0.1 s, doubled with each failure up to 5 s.

        The pause is never shorter than the retry delay of `error`.
        """
        if isinstance(error, RequestInProgress) or self.is_paused(destination, now):
            return  # concerns one message only, or started before the pause
        pause = self._pauses.setdefault(destination, _Pause(now, 0))
        pause.failures += 1
        max_pause_s = min(MAX_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (pause.failures - 1))
        pushback_s = (error.retry_after_s if isinstance(error, ServiceError) else None) or 0.0
        pause.until = now + max(pushback_s, self._rng.uniform(max_pause_s / 2, max_pause_s))

    def record_response(self, destination: str) -> None:
        """End the pause of a destination, because it has responded."""
        self._pauses.pop(destination, None)

    def is_paused(self, destination: str, now: float) -> bool:
        """Return whether a destination is paused now."""
        pause = self._pauses.get(destination)
        return pause is not None and now < pause.until

    def paused(self, now: float) -> list[str]:
        """Return the destinations that are paused now."""
        return [destination for destination, pause in self._pauses.items() if now < pause.until]

    def next_end_s(self, now: float) -> float | None:
        """Return the time in seconds until the next pause ends; None if no destination is paused."""
        return min((pause.until - now for pause in self._pauses.values() if now < pause.until), default=None)
