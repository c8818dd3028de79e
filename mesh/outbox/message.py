"""Messages of an outbox: what is delivered where, and what becomes of one after an attempt."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID


class Status(StrEnum):
    """How far a message has come; the names are those of the contract's OutboxStatus."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Message:
    """One call to be made: `destination` ("package.Service/Method") with `payload`, its serialized request.

    `attempts` are those that failed and count; `age_s` is how long it has been due, in seconds, as the database says.
    """

    message_id: UUID
    destination: str
    payload: bytes
    event: str
    aggregate_key: str | None
    correlation_id: str
    traceparent: str
    attempts: int = 0
    sequence: int = 0
    age_s: float = 0.0

    @property
    def lane(self) -> tuple[str, str] | None:
        """What has to stay in order: the messages of one aggregate to one destination; None: nothing."""
        return None if self.aggregate_key is None else (self.destination, self.aggregate_key)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a message: `pause_s` is how long one that stays pending waits."""

    status: Status
    attempts: int
    error: str = ""
    pause_s: float = 0.0


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message as it lies in the outbox."""

    message: Message
    status: Status
    last_error: str
    create_time: datetime
    due_time: datetime | None
    settle_time: datetime | None
