"""Domain of notification preferences."""

from __future__ import annotations

from enum import StrEnum


class Category(StrEnum):
    """Category of mail. A switchable category has the name of its field in the contract's NotificationPreferences."""

    BOOKINGS = "bookings"
    PAYMENTS = "payments"
    SECURITY = "security"
    REMINDERS = "reminders"
    WAITING_LIST = "waiting_list"

    @property
    def is_switchable(self) -> bool:
        """Whether a user can switch the category off. Mail about a contract, money or access always arrives."""
        return self in (Category.REMINDERS, Category.WAITING_LIST)
