"""The most common passwords: 30,000 from leaks, as zxcvbn lists them."""

from __future__ import annotations

from zxcvbn.frequency_lists import FREQUENCY_LISTS

from contracts.errors import PasswordTooCommon

COMMON_PASSWORDS = frozenset(password.casefold() for password in FREQUENCY_LISTS["passwords"])


def require_uncommon(password: str) -> None:
    """Raise PasswordTooCommon for a password of the list, in any case."""
    if password.casefold() in COMMON_PASSWORDS:
        raise PasswordTooCommon
