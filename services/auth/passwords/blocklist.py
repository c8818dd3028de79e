"""Blocklist of the most common passwords (NIST SP 800-63B): the 30,000 that zxcvbn lists from leaks."""

from __future__ import annotations

from zxcvbn.frequency_lists import FREQUENCY_LISTS

from contracts.errors import PasswordTooCommon

COMMON_PASSWORDS = frozenset(password.casefold() for password in FREQUENCY_LISTS["passwords"])


def require_uncommon(password: str) -> None:
    """Raise PasswordTooCommon for a password of the list, in upper or lower case."""
    if password.casefold() in COMMON_PASSWORDS:
        raise PasswordTooCommon
