"""Outbox messages, their status, and verdicts on deliveries."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID


class DeliveryStatus(StrEnum):
    """Delivery status of a message. The names are those of OutboxStatus in the contract."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """One call to deliver: `destination` ("package.Service/Method") and `payload`, its serialized request.

    `attempts` counts failed attempts, without those that failed because the receiver was unavailable. `age_s` is the
    time in seconds since the message was first due, by the database's clock. `lease_id` identifies the claim that has
    leased the message; None without a lease.
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
    lease_id: UUID | None = None

    @property
    def lane(self) -> tuple[str, str] | None:
        """Destination and aggregate, within which order matters; None if the message has no aggregate."""
        return None if self.aggregate_key is None else (self.destination, self.aggregate_key)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Result of a delivery attempt; `pause_s` is the time in seconds until a pending message is due again."""

    status: DeliveryStatus
    attempts: int
    error: str = ""
    pause_s: float = 0.0


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message with its state in the outbox table."""

    message: OutboxMessage
    status: DeliveryStatus
    last_error: str
    create_time: datetime
    due_time: datetime | None
    settle_time: datetime | None
