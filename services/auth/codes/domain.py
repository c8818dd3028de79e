"""Codes: 125 random bits that people can type, and the hashes that are stored instead."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import timedelta
from enum import StrEnum

from contracts.mail_address import folded

# Crockford's base 32: no letter looks like a digit.
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
LENGTH = 25
GROUP = 5
_READ_AS = str.maketrans({"o": "0", "i": "1", "l": "1", "-": None, " ": None})


class Purpose(StrEnum):
    """Purpose of a code."""

    EMAIL_CONFIRMATION = "EMAIL_CONFIRMATION"
    PASSWORD_RESET = "PASSWORD_RESET"  # noqa: S105 - a purpose, not a password


# Longer than the lifetime of the mails (template.toml of their templates), so that a late mail has a valid code.
LIFETIMES = {Purpose.EMAIL_CONFIRMATION: timedelta(days=1), Purpose.PASSWORD_RESET: timedelta(hours=1)}


def new_code() -> str:
    """Return a new code, in groups of five characters."""
    text = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
    return "-".join(text[start : start + GROUP] for start in range(0, LENGTH, GROUP))


def code_sha256(code: str) -> bytes:
    """Return the SHA-256 of a code as typed, without regard to case, hyphens, blanks and similar characters.

    A slow hash is not necessary, because nobody can guess 125 random bits.
    """
    return hashlib.sha256(_read(code)).digest()


def address_mac(code: str, email: str) -> bytes:
    """Return an HMAC of an address in any spelling, with the code as its key."""
    return hmac.digest(_read(code), folded(email).encode(), "sha256")


def _read(code: str) -> bytes:
    return code.lower().translate(_READ_AS).encode()
