"""Domain of notification preferences."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID


class Category(StrEnum):
    """Category of mail. A switchable category has the name of its field in the contract's NotificationPreferences."""

    BOOKINGS = "bookings"
    PAYMENTS = "payments"
    SECURITY = "security"
    REMINDERS = "reminders"
    WAITING_LIST = "waiting_list"

    @property
    def is_switchable(self) -> bool:
        """Whether a user can switch the category off. Mail about a booking, money or an account always arrives."""
        return self in LABELS

    @property
    def label(self) -> str:
        """Name of a switchable category for users, as in "unsubscribe from reminders"."""
        return LABELS[self]


LABELS = {Category.REMINDERS: "reminders", Category.WAITING_LIST: "mails about free slots"}


@dataclass(frozen=True, slots=True)
class Preferences:
    """Categories of mail that a user has switched off. `update_time` is None if they have never been changed."""

    user_id: UUID
    switched_off: frozenset[Category] = frozenset()
    update_time: datetime | None = None

    def with_changes(self, changes: Mapping[Category, bool], now: datetime) -> Self:
        """Return the preferences after switching categories on (True) and off (False)."""
        on, off = ({category for category, is_on in changes.items() if is_on is wanted} for wanted in (True, False))
        return replace(self, switched_off=self.switched_off - on | off, update_time=now)
