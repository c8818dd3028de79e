"""Kinds of mails by their subjects, because a stored mail does not name its template."""

from __future__ import annotations

import re
from enum import StrEnum


class MailKind(StrEnum):
    """Kind of a mail, with the pattern of its subject."""

    BOOKED = r"Booked: .*"
    NOISE_WARNING = r"Please mind the noise: .*"
    CANCELLED = r"Cancelled: .*"
    MOVED = r"Moved: .*"
    OFFERED = r"Held for you: .*"
    FREE_AGAIN = r"Free again: .*"
    INVITED = r".* invites you to train at .*"
    INVITATION_CANCELLED = r"Your invitation to .* is cancelled"
    CONFIRM_EMAIL = r"Please confirm your email address"
    TOKEN_REUSED = r"You were logged out for your safety"  # noqa: S105 - a subject
    SUBSCRIBED = r"Welcome to .*"
    SUBSCRIPTION_ENDS = r"Your subscription .* ends"
    SUBSCRIPTION_CONTINUES = r"Your subscription .* continues"


def kind_of(subject: str) -> MailKind | None:
    """Return the kind of a mail, or None if no member of these tests should get it."""
    return next((kind for kind in MailKind if re.fullmatch(kind.value, subject)), None)
