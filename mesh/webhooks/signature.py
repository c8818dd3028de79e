"""Webhook signature verification: HMAC-SHA256 with one of our secrets, and a timestamp within five minutes of now.

Both schemes need only HMAC-SHA256 and a comparison in constant time, so no library is used. `stripe` is large, and
accepts timestamps in the far future. `standardwebhooks` 1.1 reads the clock itself, supports only one secret at a time,
of any length, and accepts fractional seconds that were not signed. For a malformed header or a body that is not text,
`standardwebhooks` raises errors other than its own.
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

# Maximum difference between the timestamp and our clock, in both directions: clock error and delivery time.
TOLERANCE = timedelta(minutes=5)
VERSION = "v1"


@dataclass(frozen=True, slots=True)
class WebhookKeys:
    """Keys of each scheme. A signature by any of them is valid; a scheme without keys rejects every webhook."""

    standard: tuple[bytes, ...] = ()
    processor: tuple[bytes, ...] = ()


def verify_standard(
    keys: Iterable[bytes], webhook_id: str, timestamp: str, payload: bytes, signature: str, now: datetime
) -> None:
    """Raise WebhookSignatureInvalid unless a signature matches one of `keys` and `timestamp` is recent.

    The signed text is id, timestamp and payload. `signature` holds one or more "v1,<base64>", separated by spaces.
    Versions other than v1 are ignored. Source: standardwebhooks.com, "Verifying webhook authenticity".
    """
    given = [part.partition(",")[2] for part in signature.split(" ") if part.startswith(f"{VERSION},")]
    signed = b".".join((webhook_id.encode(), timestamp.encode(), payload))
    expected = [base64.b64encode(hmac.digest(key, signed, "sha256")) for key in keys]
    _require(_is_recent(timestamp, now) and _matches_any(given, expected))


def verify_card_processor(keys: Iterable[bytes], payload: bytes, signature: str, now: datetime) -> None:
    """Raise WebhookSignatureInvalid unless a signature in the card processor's header matches one of `keys`.

    The header is "t=<seconds>,v1=<hex>" with exactly one `t`, which must be recent, and with several `v1` while a
    secret is being replaced. Other schemes are ignored. Source: docs.stripe.com/webhooks, "Verify webhook signatures
    manually".
    """
    parts = [part.partition("=") for part in signature.split(",")]
    timestamps = [value for name, _, value in parts if name == "t"]
    timestamp = timestamps[0] if len(timestamps) == 1 else ""
    given = [value for name, _, value in parts if name == VERSION]
    signed = timestamp.encode() + b"." + payload
    expected = [hmac.digest(key, signed, "sha256").hex().encode() for key in keys]
    _require(_is_recent(timestamp, now) and _matches_any(given, expected))


def _require(is_valid: bool) -> None:  # noqa: FBT001 - the only argument
    if not is_valid:
        raise WebhookSignatureInvalid


def _is_recent(timestamp: str, now: datetime) -> bool:
    if not (timestamp.isascii() and timestamp.isdigit()):
        return False
    try:
        return abs(datetime.fromtimestamp(int(timestamp), UTC) - now) <= TOLERANCE
    except (ValueError, OverflowError, OSError):
        return False


def _matches_any(given: Iterable[str], expected: list[bytes]) -> bool:
    """Return whether one of `given` is expected. The time taken does not depend on the number of matching bytes."""
    return any([hmac.compare_digest(each.encode(), right) for each in given for right in expected])  # noqa: C419 - constant time
