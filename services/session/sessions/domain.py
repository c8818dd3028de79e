"""Domain of sessions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from contracts.errors import (
    PeriodPast,
    PriceDiffers,
    SessionNotCancellable,
    SessionNotPendingApproval,
    SessionNotReschedulable,
    SessionTakesNoGuests,
)

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID


class SessionStatus(StrEnum):
    """Status of a session. The first three hold the slot."""

    PENDING_PAYMENT = "pending_payment"
    PENDING_APPROVAL = "pending_approval"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    COMPLETED = "completed"


# Paid, and not cancelled, rejected or completed.
ACTIVE = frozenset({SessionStatus.PENDING_APPROVAL, SessionStatus.CONFIRMED})


class PaymentMethod(StrEnum):
    """Payment method of a session."""

    CREDITS = "credits"
    CARD = "card"


@dataclass(frozen=True, slots=True)
class Period:
    """Half-open interval between two timezone-aware datetimes."""

    start: datetime
    end: datetime

    def require_not_past(self, now: datetime) -> None:
        """Raise PeriodPast if the period starts before `now`."""
        if self.start < now:
            raise PeriodPast

    def minus(self, other: Period) -> list[Period]:
        """Return the parts of this period that are outside of `other`: none, one or two."""
        parts = (
            Period(self.start, min(self.end, other.start)),
            Period(max(self.start, other.end), self.end),
        )
        return [part for part in parts if part.start < part.end]


@dataclass(frozen=True, slots=True)
class Quote:
    """Price of a period (`minor_units` of `currency` by card, or `credits`) and the rules of the gym."""

    currency: str
    minor_units: int
    credits: int
    noise_policy: str
    requires_approval: bool

    def price_in(self, method: PaymentMethod) -> tuple[int, str]:
        """Return the price in a payment method: credits, or minor units and their currency."""
        return (self.credits, "") if method is PaymentMethod.CREDITS else (self.minor_units, self.currency)


@dataclass(frozen=True, slots=True)
class Order:
    """Order for one session: member, gym, period and payment method."""

    user_id: UUID
    gym_id: UUID
    period: Period
    payment_method: PaymentMethod


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """Filter and order of a user's sessions. None matches all; the starts are a half-open interval."""

    statuses: list[SessionStatus] | None = None
    gym_id: UUID | None = None
    starts_from: datetime | None = None
    starts_before: datetime | None = None
    earliest_first: bool = False


@dataclass(frozen=True, slots=True)
class Session:
    """Booking of one gym by one member for one period."""

    session_id: UUID
    order: Order
    quote: Quote
    status: SessionStatus
    cancel_reason: str
    create_time: datetime
    update_time: datetime
    correlation_id: str
    refunded_in_credits: bool = False
    # Number of times that the session was moved to another period.
    moves: int = 0
    # The offer from which the session results, if there was one.
    offer_id: UUID | None = None

    @property
    def status_when_paid(self) -> SessionStatus:
        """Status after payment."""
        return SessionStatus.PENDING_APPROVAL if self.quote.requires_approval else SessionStatus.CONFIRMED

    @property
    def is_approved(self) -> bool:
        """Whether an admin has approved the session and it is still confirmed."""
        return self.status is SessionStatus.CONFIRMED and self.quote.requires_approval

    def require_approvable(self, now: datetime) -> None:
        """Raise SessionNotPendingApproval if the session is not pending approval, or has started."""
        if self.status is not SessionStatus.PENDING_APPROVAL or self.order.period.start <= now:
            raise SessionNotPendingApproval

    def require_rejectable(self) -> None:
        """Raise SessionNotPendingApproval if the session is not pending approval."""
        if self.status is not SessionStatus.PENDING_APPROVAL:
            raise SessionNotPendingApproval

    def require_cancellable(self, now: datetime) -> None:
        """Raise SessionNotCancellable if the session has started, or is neither confirmed nor pending approval."""
        if self.status not in ACTIVE or self.order.period.start <= now:
            raise SessionNotCancellable

    def require_reschedulable(self, quote: Quote, now: datetime) -> None:
        """Raise SessionNotReschedulable if the session cannot be moved, PriceDiffers if its price is not in `quote`."""
        if self.status not in ACTIVE or self.order.period.start <= now:
            raise SessionNotReschedulable
        method = self.order.payment_method
        if quote.price_in(method) != self.quote.price_in(method):
            raise PriceDiffers

    def require_guests_allowed(self, now: datetime) -> None:
        """Raise SessionTakesNoGuests if the session has ended, or is neither confirmed nor pending approval."""
        if self.status not in ACTIVE or self.order.period.end <= now:
            raise SessionTakesNoGuests
