"""Parsers of webhook secrets. Several secrets can be valid at once, so that rotation rejects no webhook.

Error messages never repeat a secret or a part of one.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import SecretStr

PREFIX = "whsec_"
# Standard Webhooks: "between 24 bytes (192 bits) and 64 bytes (512 bits)".
MIN_KEY_BYTES = 24
MAX_KEY_BYTES = 64
_PROCESSOR_SECRET_FORM = re.compile(r"whsec_[A-Za-z0-9+/=_-]{24,200}")


def standard_keys(secrets: SecretStr | None) -> tuple[bytes, ...]:
    """Return the keys of Standard Webhooks secrets, "whsec_<base64>"; raise ValueError for a malformed secret."""
    return tuple(map(_standard_key, _each(secrets)))


def processor_keys(secrets: SecretStr | None) -> tuple[bytes, ...]:
    """Return the card processor's secrets as keys, which are their bytes; raise ValueError for a malformed secret."""
    return tuple(map(_processor_key, _each(secrets)))


def _each(secrets: SecretStr | None) -> list[str]:
    return [each.strip() for each in secrets.get_secret_value().split(",")] if secrets is not None else []


def _standard_key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True) if secret.startswith(PREFIX) else b""
    except ValueError:
        key = b""
    if not MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
        raise ValueError('must be secrets of the form "whsec_<24 to 64 bytes in base64>", separated by commas')
    return key


def _processor_key(secret: str) -> bytes:
    if not _PROCESSOR_SECRET_FORM.fullmatch(secret):
        raise ValueError('must be secrets of the form "whsec_<24 or more characters>", separated by commas')
    return secret.encode()
