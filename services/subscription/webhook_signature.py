"""Webhook signatures: what was signed by somebody who has one of our secrets, within five minutes of now, or nothing.

Both schemes are HMAC-SHA256 and a comparison in constant time, so they stand here rather than in a library. `stripe`
accepts timestamps of any future, and is heavy. `standardwebhooks` 1.1 reads the clock itself, knows one secret at a
time of whatever length, accepts fractions of seconds that were not signed, and raises other errors than its own where
a header is malformed or a body is no text.
"""

from __future__ import annotations

import base64
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from contracts.errors import WebhookSignatureInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable

# How far the sender's clock, or a delivery under way, may be from ours, before or after.
TOLERANCE = timedelta(minutes=5)
VERSION = "v1"


@dataclass(frozen=True, slots=True)
class WebhookKeys:
    """The keys of each scheme. Any of them will do; where there is none, nothing is accepted."""

    standard: tuple[bytes, ...] = ()
    processor: tuple[bytes, ...] = ()


def verify_standard(
    keys: Iterable[bytes], webhook_id: str, timestamp: str, payload: bytes, signature: str, now: datetime
) -> None:
    """Raise WebhookSignatureInvalid unless one of `signature` is that of one of `keys` over id, timestamp and payload.

    Source: standardwebhooks.com, "Verifying webhook authenticity"; `signature` is "v1,<base64>", several of them
    separated by spaces; versions other than v1 are passed over.
    """
    given = [part.partition(",")[2] for part in signature.split(" ") if part.startswith(f"{VERSION},")]
    signed = b".".join((webhook_id.encode(), timestamp.encode(), payload))
    expected = [base64.b64encode(hmac.digest(key, signed, "sha256")) for key in keys]
    _require(_is_near(timestamp, now) and _is_any(given, expected))


def verify_processor(keys: Iterable[bytes], payload: bytes, signature: str, now: datetime) -> None:
    """Raise WebhookSignatureInvalid unless one signature in the card processor's header is that of one of `keys`.

    Source: docs.stripe.com/webhooks, "Verify webhook signatures manually"; the header is "t=<seconds>,v1=<hex>", with
    one `t` and several `v1` while a secret is replaced; other schemes are passed over.
    """
    parts = [part.partition("=") for part in signature.split(",")]
    timestamps = [value for name, _, value in parts if name == "t"]
    timestamp = timestamps[0] if len(timestamps) == 1 else ""
    given = [value for name, _, value in parts if name == VERSION]
    signed = timestamp.encode() + b"." + payload
    expected = [hmac.digest(key, signed, "sha256").hex().encode() for key in keys]
    _require(_is_near(timestamp, now) and _is_any(given, expected))


def _require(is_right: bool) -> None:  # noqa: FBT001 - it is a verdict
    if not is_right:
        raise WebhookSignatureInvalid


def _is_near(timestamp: str, now: datetime) -> bool:
    if not (timestamp.isascii() and timestamp.isdigit()):
        return False
    try:
        return abs(datetime.fromtimestamp(int(timestamp), UTC) - now) <= TOLERANCE
    except (ValueError, OverflowError, OSError):
        return False


def _is_any(given: Iterable[str], expected: list[bytes]) -> bool:
    """Whether one of `given` is expected; how long that takes does not tell how much of one is right."""
    return any([hmac.compare_digest(each.encode(), right) for each in given for right in expected])  # noqa: C419 - all
