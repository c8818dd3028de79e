"""Sessions as the business sees them: how far one has come, what may become of it, and which mails follow."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from contracts.errors import PeriodPast, SessionNotCancellable, SessionNotPendingApproval, SessionTakesNoGuests

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID


class Status(StrEnum):
    """Where a session stands. The first three hold the slot."""

    PENDING_PAYMENT = "pending_payment"
    PENDING_APPROVAL = "pending_approval"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    COMPLETED = "completed"


# Paid, and to come or under way.
STANDING = frozenset({Status.PENDING_APPROVAL, Status.CONFIRMED})


class Means(StrEnum):
    """What a session is paid in."""

    CREDITS = "credits"
    CARD = "card"


class Mail(StrEnum):
    """What people are told about a session, by the key of its template."""

    BOOKED = "SESSION_BOOKED"
    NOISE_WARNING = "NOISE_WARNING"
    APPROVAL_REQUESTED = "APPROVAL_REQUESTED"
    APPROVED = "SESSION_APPROVED"
    REJECTED = "SESSION_REJECTED"
    CANCELLED = "SESSION_CANCELLED"
    GUEST_INVITED = "GUEST_INVITED"
    GUEST_CANCELLED = "GUEST_SESSION_CANCELLED"
    SPOT_AVAILABLE = "SPOT_AVAILABLE"


@dataclass(frozen=True, slots=True)
class Period:
    """A half-open stretch of time between two aware datetimes."""

    start: datetime
    end: datetime

    def refuse_past(self, now: datetime) -> None:
        """Raise PeriodPast when it has begun before `now`."""
        if self.start < now:
            raise PeriodPast


@dataclass(frozen=True, slots=True)
class Quote:
    """What a period costs, `minor_units` of `currency` by card or `credits`, and the rules of the gym with it."""

    currency: str
    minor_units: int
    credits: int
    noise_policy: str
    requires_approval: bool


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be booked, for whom, and what it is paid in."""

    user_id: UUID
    gym_id: UUID
    period: Period
    means: Means


@dataclass(frozen=True, slots=True)
class BookingCall:
    """The call that books a session: repetitions have the same caller, key and fingerprint of the request."""

    caller: str
    key: str
    request_sha256: bytes
    correlation_id: str


@dataclass(frozen=True, slots=True)
class Session:
    """A gym for one member for one period."""

    session_id: UUID
    order: Order
    quote: Quote
    status: Status
    cancel_reason: str
    create_time: datetime
    update_time: datetime
    correlation_id: str
    refunded_in_credits: bool = False

    @property
    def status_when_paid(self) -> Status:
        """What it becomes once the member has paid."""
        return Status.PENDING_APPROVAL if self.quote.requires_approval else Status.CONFIRMED

    @property
    def mails_when_paid(self) -> tuple[Mail, ...]:
        """What is said once it is paid: to the member, or to the admins where they have still to approve it."""
        return (Mail.APPROVAL_REQUESTED,) if self.quote.requires_approval else self._promises(Mail.BOOKED)

    @property
    def mails_when_approved(self) -> tuple[Mail, ...]:
        """What the member is told then."""
        return self._promises(Mail.APPROVED)

    def _promises(self, mail: Mail) -> tuple[Mail, ...]:
        return (mail, Mail.NOISE_WARNING) if self.quote.noise_policy else (mail,)

    @property
    def is_approved(self) -> bool:
        """Whether an admin has confirmed it."""
        return self.status is Status.CONFIRMED and self.quote.requires_approval

    def refuse_approval(self, now: datetime) -> None:
        """Raise SessionNotPendingApproval when it does not wait for approval, or has begun."""
        if self.status is not Status.PENDING_APPROVAL or self.order.period.start <= now:
            raise SessionNotPendingApproval

    def refuse_rejection(self) -> None:
        """Raise SessionNotPendingApproval when it does not wait for approval."""
        if self.status is not Status.PENDING_APPROVAL:
            raise SessionNotPendingApproval

    def refuse_cancellation(self, now: datetime) -> None:
        """Raise SessionNotCancellable when it has begun, or neither is nor waits to be confirmed."""
        if self.status not in STANDING or self.order.period.start <= now:
            raise SessionNotCancellable

    def refuse_guests(self, now: datetime) -> None:
        """Raise SessionTakesNoGuests when it is over, or neither is nor waits to be confirmed."""
        if self.status not in STANDING or self.order.period.end <= now:
            raise SessionTakesNoGuests


@dataclass(frozen=True, slots=True)
class Guest:
    """Somebody who is, or was, invited to a session."""

    invitation_id: UUID
    session_id: UUID
    email: str
    name: str
    create_time: datetime
    is_cancelled: bool


@dataclass(frozen=True, slots=True)
class Wish:
    """What a member wants to have booked, and cannot: a period in a gym."""

    user_id: UUID
    gym_id: UUID
    period: Period


@dataclass(frozen=True, slots=True)
class WaitingListEntry:
    """A member who waits, or has waited, until a wish can come true."""

    entry_id: UUID
    wish: Wish
    create_time: datetime
    is_over: bool


@dataclass(frozen=True, slots=True)
class Letter:
    """One mail about a session: to a guest, to one who waits for its slot, to the admins, or else to its member."""

    mail: Mail
    session: Session
    guest: Guest | None = None
    waiting: WaitingListEntry | None = None

    @property
    def key(self) -> str:
        """What tells it from all other letters: who repeats it sends no second one."""
        about = str(self.guest.invitation_id if self.guest else self.session.session_id)
        if self.waiting:
            about = f"{about}/{self.waiting.entry_id}"
        return f"{self.mail.lower().replace('_', '-')}/{about}"

    @property
    def member_id(self) -> UUID:
        """The member whom it speaks of."""
        return self.waiting.wish.user_id if self.waiting else self.session.order.user_id

    @property
    def is_to_admins(self) -> bool:
        """Whether those read it who run Solo60."""
        return self.mail is Mail.APPROVAL_REQUESTED

    def is_outdated(self, now: datetime) -> bool:
        """Whether there is nothing to say any more: who waited has left, or the slot is past."""
        return self.waiting is not None and (self.waiting.is_over or self.session.order.period.start <= now)
