"""Domain of mails about sessions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from services.session.guests.domain import Guest
    from services.session.offers.domain import Offer
    from services.session.sessions.domain import Period, Session
    from services.session.waiting_list.domain import WaitingListEntry


class MailKind(StrEnum):
    """Kind of a mail about a session. Each value is a template key of the communication service."""

    BOOKED = "SESSION_BOOKED"
    NOISE_WARNING = "NOISE_WARNING"
    APPROVAL_REQUESTED = "APPROVAL_REQUESTED"
    APPROVED = "SESSION_APPROVED"
    REJECTED = "SESSION_REJECTED"
    CANCELLED = "SESSION_CANCELLED"
    GUEST_INVITED = "GUEST_INVITED"
    GUEST_CANCELLED = "GUEST_SESSION_CANCELLED"
    SPOT_AVAILABLE = "SPOT_AVAILABLE"
    RESCHEDULED = "SESSION_RESCHEDULED"
    GUEST_RESCHEDULED = "GUEST_SESSION_RESCHEDULED"
    SLOT_OFFERED = "SLOT_OFFERED"


ABOUT_A_MOVE = frozenset({MailKind.RESCHEDULED, MailKind.GUEST_RESCHEDULED})


def mails_after_payment(session: Session) -> tuple[MailKind, ...]:
    """Return the kinds of mail after payment: to the admins if the gym requires approval, otherwise to the member."""
    if session.quote.requires_approval:
        return (MailKind.APPROVAL_REQUESTED,)
    return _with_noise_warning(MailKind.BOOKED, session)


def mails_after_approval(session: Session) -> tuple[MailKind, ...]:
    """Return the kinds of mail to the member after approval."""
    return _with_noise_warning(MailKind.APPROVED, session)


def _with_noise_warning(kind: MailKind, session: Session) -> tuple[MailKind, ...]:
    return (kind, MailKind.NOISE_WARNING) if session.quote.noise_policy else (kind,)


@dataclass(frozen=True, slots=True)
class SessionMail:
    """One mail about a session.

    The recipient is the guest, the waiting member, the admins (APPROVAL_REQUESTED only), or else the session's member.
    `move` is the number of moves of the session when the mail became due. `free_period` is the released period.
    """

    kind: MailKind
    session: Session
    guest: Guest | None = None
    waiting: WaitingListEntry | None = None
    offer: Offer | None = None
    move: int = 0
    free_period: Period | None = None

    @property
    def period(self) -> Period:
        """Period that the mail shows."""
        return self.free_period or self.session.order.period

    @property
    def key(self) -> str:
        """Idempotency key, unique per mail: sending the same mail twice delivers one."""
        about = str(self.guest.invitation_id if self.guest else self.session.session_id)
        if self.offer:
            about = str(self.offer.offer_id)
        if self.waiting:
            about = f"{about}/{self.waiting.entry_id}"
        if self.move:
            # Two releases after one move differ by their start: the move itself, and a later cancellation.
            about = f"{about}/{self.move}" + (f"/{self.period.start:%Y%m%dT%H%M}" if self.waiting else "")
        return f"{self.kind.lower().replace('_', '-')}/{about}"

    @property
    def member_id(self) -> UUID:
        """Id of the waiting member, or else of the member who booked the session."""
        return self.waiting.request.user_id if self.waiting else self.session.order.user_id

    @property
    def is_to_admins(self) -> bool:
        """Whether the recipients are admins."""
        return self.kind is MailKind.APPROVAL_REQUESTED

    def is_outdated(self, now: datetime) -> bool:
        """Return whether the mail is outdated.

        A mail about a free slot is outdated when the entry is closed or the slot has started. A mail about an offer is
        outdated when the offer is not open, and a mail about a move when another move has followed.
        """
        if self.offer is not None:
            return not self.offer.is_open(now)
        if self.waiting is not None:
            return self.waiting.is_over or self.period.start <= now
        return self.kind in ABOUT_A_MOVE and self.move < self.session.moves
