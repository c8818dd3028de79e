"""Domain of the session service: sessions, guests, waiting lists and their mails."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from contracts.errors import PeriodPast, SessionNotCancellable, SessionNotPendingApproval, SessionTakesNoGuests

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID


class Status(StrEnum):
    """Status of a session. The first three hold the slot."""

    PENDING_PAYMENT = "pending_payment"
    PENDING_APPROVAL = "pending_approval"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    COMPLETED = "completed"


# Paid, and not cancelled, rejected or completed.
STANDING = frozenset({Status.PENDING_APPROVAL, Status.CONFIRMED})


class Means(StrEnum):
    """Payment method of a session."""

    CREDITS = "credits"
    CARD = "card"


class Mail(StrEnum):
    """Mails about a session. Each value is a template key of the communication service."""

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
    """Half-open interval between two timezone-aware datetimes."""

    start: datetime
    end: datetime

    def refuse_past(self, now: datetime) -> None:
        """Raise PeriodPast if the period starts before `now`."""
        if self.start < now:
            raise PeriodPast


@dataclass(frozen=True, slots=True)
class Quote:
    """Price of a period (`minor_units` of `currency` by card, or `credits`) and the rules of the gym."""

    currency: str
    minor_units: int
    credits: int
    noise_policy: str
    requires_approval: bool


@dataclass(frozen=True, slots=True)
class Order:
    """Order for one session: member, gym, period and payment method."""

    user_id: UUID
    gym_id: UUID
    period: Period
    means: Means


@dataclass(frozen=True, slots=True)
class BookingCall:
    """Identity of a BookSession call. Retries have the same caller, key and request hash."""

    caller: str
    key: str
    request_sha256: bytes
    correlation_id: str


@dataclass(frozen=True, slots=True)
class Session:
    """Booking of one gym by one member for one period."""

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
        """Status after payment."""
        return Status.PENDING_APPROVAL if self.quote.requires_approval else Status.CONFIRMED

    @property
    def mails_when_paid(self) -> tuple[Mail, ...]:
        """Mails after payment: to the admins if the gym requires approval, otherwise to the member."""
        return (Mail.APPROVAL_REQUESTED,) if self.quote.requires_approval else self._promises(Mail.BOOKED)

    @property
    def mails_when_approved(self) -> tuple[Mail, ...]:
        """Mails to the member after approval."""
        return self._promises(Mail.APPROVED)

    def _promises(self, mail: Mail) -> tuple[Mail, ...]:
        return (mail, Mail.NOISE_WARNING) if self.quote.noise_policy else (mail,)

    @property
    def is_approved(self) -> bool:
        """Whether an admin has approved the session and it is still confirmed."""
        return self.status is Status.CONFIRMED and self.quote.requires_approval

    def refuse_approval(self, now: datetime) -> None:
        """Raise SessionNotPendingApproval if the session is not pending approval, or has started."""
        if self.status is not Status.PENDING_APPROVAL or self.order.period.start <= now:
            raise SessionNotPendingApproval

    def refuse_rejection(self) -> None:
        """Raise SessionNotPendingApproval if the session is not pending approval."""
        if self.status is not Status.PENDING_APPROVAL:
            raise SessionNotPendingApproval

    def refuse_cancellation(self, now: datetime) -> None:
        """Raise SessionNotCancellable if the session has started, or is neither confirmed nor pending approval."""
        if self.status not in STANDING or self.order.period.start <= now:
            raise SessionNotCancellable

    def refuse_guests(self, now: datetime) -> None:
        """Raise SessionTakesNoGuests if the session has ended, or is neither confirmed nor pending approval."""
        if self.status not in STANDING or self.order.period.end <= now:
            raise SessionTakesNoGuests


@dataclass(frozen=True, slots=True)
class Guest:
    """Guest with a current or cancelled invitation to a session."""

    invitation_id: UUID
    session_id: UUID
    email: str
    name: str
    create_time: datetime
    is_cancelled: bool


@dataclass(frozen=True, slots=True)
class Wish:
    """Period in a gym that a member would book if it were free."""

    user_id: UUID
    gym_id: UUID
    period: Period


@dataclass(frozen=True, slots=True)
class WaitingListEntry:
    """Current or former place of a member on a waiting list."""

    entry_id: UUID
    wish: Wish
    create_time: datetime
    is_over: bool


@dataclass(frozen=True, slots=True)
class Letter:
    """One mail about a session.

    The recipient is the guest, the waiting member, the admins (APPROVAL_REQUESTED only), or else the session's member.
    """

    mail: Mail
    session: Session
    guest: Guest | None = None
    waiting: WaitingListEntry | None = None

    @property
    def key(self) -> str:
        """Idempotency key, unique per letter: sending the same letter twice delivers one mail."""
        about = str(self.guest.invitation_id if self.guest else self.session.session_id)
        if self.waiting:
            about = f"{about}/{self.waiting.entry_id}"
        return f"{self.mail.lower().replace('_', '-')}/{about}"

    @property
    def member_id(self) -> UUID:
        """Id of the waiting member, or else of the member who booked the session."""
        return self.waiting.wish.user_id if self.waiting else self.session.order.user_id

    @property
    def is_to_admins(self) -> bool:
        """Whether the recipients are admins."""
        return self.mail is Mail.APPROVAL_REQUESTED

    def is_outdated(self, now: datetime) -> bool:
        """Return whether this is a waiting list mail for a former entry or for a past start time."""
        return self.waiting is not None and (self.waiting.is_over or self.session.order.period.start <= now)
