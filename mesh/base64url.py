"""Base64url without padding (RFC 4648, section 5, and RFC 7515, appendix C): the text form of tokens and keys."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode


def encode(data: bytes) -> str:
    """Return the text of `data`."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """Return the bytes of a text, which several texts can have in common; raise ValueError if it cannot be decoded.

    Characters that are not base64url are skipped.
    """
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def decode_exact(text: str) -> bytes:
    """Return the bytes of a text; raise ValueError unless the text is exactly what `encode` returns for them."""
    data = decode(text)
    if encode(data) != text:
        raise ValueError("must be base64url without padding")
    return data
