"""Webhook signatures, made as the senders make them."""

from __future__ import annotations

import base64
import hmac

# 24 bytes: the secret of the test vector that Standard Webhooks publishes.
STANDARD_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - published
STANDARD_KEY = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
PROCESSOR_SECRET = "whsec_" + "processor0123456789abcdef"
PROCESSOR_KEY = PROCESSOR_SECRET.encode()


def standard_signature(webhook_id: str, timestamp: int | str, payload: bytes, key: bytes = STANDARD_KEY) -> str:
    """Return the header "webhook-signature" for one secret."""
    signed = f"{webhook_id}.{timestamp}.".encode() + payload
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def processor_signature(timestamp: int | str, payload: bytes, key: bytes = PROCESSOR_KEY) -> str:
    """Return the card processor's signature header for one secret."""
    return f"t={timestamp},v1={hmac.digest(key, f'{timestamp}.'.encode() + payload, 'sha256').hex()}"
