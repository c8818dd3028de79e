"""Blocklist of the most common passwords (NIST SP 800-63B): the 30,000 that zxcvbn lists from leaks."""

from __future__ import annotations

import runpy
from importlib.metadata import distribution

from contracts.errors import PasswordTooCommon

_SEPARATOR = ","


def _common_passwords() -> str:
    """Return the passwords of the list in lower case, with a separator around each.

    One text takes 0.2 MB, and a search in it 0.1 ms; a set takes 4 MB. The file is run by itself, because an import of
    zxcvbn leaves 17 MB of tables in memory.
    """
    file = distribution("zxcvbn").locate_file("zxcvbn/frequency_lists.py")
    passwords = runpy.run_path(str(file))["FREQUENCY_LISTS"]["passwords"]
    return _SEPARATOR + _SEPARATOR.join(passwords).casefold() + _SEPARATOR


COMMON_PASSWORDS = _common_passwords()


def require_uncommon(password: str) -> None:
    """Raise PasswordTooCommon for a password of the list, in upper or lower case."""
    if _SEPARATOR not in password and f"{_SEPARATOR}{password.casefold()}{_SEPARATOR}" in COMMON_PASSWORDS:
        raise PasswordTooCommon
