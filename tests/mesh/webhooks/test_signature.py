from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest

from contracts.errors import WebhookSignatureInvalid
from mesh.webhooks.signature import verify_card_processor, verify_standard
from tests.support.webhook_signing import (
    PROCESSOR_KEY,
    STANDARD_KEY,
    processor_signature,
    standard_signature,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SIGNED_AT = 1_614_265_330
NOW = datetime.fromtimestamp(SIGNED_AT, UTC)
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
PAYLOAD = b'{"test": 2432232314}'
PUBLISHED = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
NEW_KEY = b"n" * 32

standard = partial(verify_standard, [STANDARD_KEY], ID, str(SIGNED_AT), PAYLOAD)
processor = partial(verify_card_processor, [PROCESSOR_KEY], PAYLOAD)


def verified_at(scheme: str, now: datetime) -> None:
    """Verify a correctly signed webhook of SIGNED_AT at another time."""
    if scheme == "standard":
        standard(PUBLISHED, now)
    else:
        processor(processor_signature(SIGNED_AT, PAYLOAD), now)


def test_the_published_test_vector_is_accepted() -> None:
    """The test vector of Standard Webhooks is accepted: its secret, id, timestamp, body and signature."""
    standard(PUBLISHED, NOW)


def test_a_card_processor_signature_is_accepted() -> None:
    """The card processor's own scheme is accepted; its key is the whole text of the secret."""
    processor(processor_signature(SIGNED_AT, PAYLOAD), NOW)


@pytest.mark.parametrize("scheme", ["standard", "processor"])
@pytest.mark.parametrize("sign", [1, -1], ids=["late", "early"])
def test_a_timestamp_is_valid_within_five_minutes_either_way(scheme: str, sign: int) -> None:
    """A timestamp more than 300 s away is rejected, even in the future, because it could be replayed until then."""
    verified_at(scheme, NOW + sign * timedelta(seconds=300))

    with pytest.raises(WebhookSignatureInvalid):
        verified_at(scheme, NOW + sign * timedelta(seconds=300, microseconds=1))


@pytest.mark.parametrize(
    "change",
    [
        {"webhook_id": "msg_other"},
        {"timestamp": str(SIGNED_AT + 1)},
        {"timestamp": f"0{SIGNED_AT}"},
        {"payload": PAYLOAD + b" "},
        {"keys": [NEW_KEY]},
        {"keys": []},
    ],
    ids=str,
)
def test_a_changed_webhook_is_rejected(change: dict[str, object]) -> None:
    """A changed id, timestamp or body invalidates the signature, and without the right secret none is valid."""
    given = {"keys": [STANDARD_KEY], "webhook_id": ID, "timestamp": str(SIGNED_AT), "payload": PAYLOAD}

    with pytest.raises(WebhookSignatureInvalid):
        verify_standard(**{**given, **change}, signature=PUBLISHED, now=NOW)  # type: ignore[arg-type]  # the values have the right types


@pytest.mark.parametrize(
    "signature",
    [
        "",
        " ",
        "v1",
        "v1,",
        "v2" + PUBLISHED[2:],
        "v1a" + PUBLISHED[2:],
        PUBLISHED[3:],
        PUBLISHED + "=",
        PUBLISHED.rstrip("="),
        PUBLISHED.swapcase(),
        "v1,größe",
        "v1,!",
        PUBLISHED.replace(",", "="),
    ],
)
def test_a_malformed_signature_is_rejected_like_a_wrong_one(signature: str) -> None:
    """A malformed signature raises WebhookSignatureInvalid and no other error."""
    with pytest.raises(WebhookSignatureInvalid):
        standard(signature, NOW)


VALID_SIGNATURE = processor_signature(SIGNED_AT, PAYLOAD)


@pytest.mark.parametrize(
    "signature",
    [
        "",
        ",",
        VALID_SIGNATURE.partition(",")[0],
        VALID_SIGNATURE.partition(",")[2],
        VALID_SIGNATURE.replace("v1=", "v0="),
        VALID_SIGNATURE.upper(),
        VALID_SIGNATURE + "0",
        f"t={SIGNED_AT + 1},{VALID_SIGNATURE}",
        f"{VALID_SIGNATURE},t={SIGNED_AT}",
        "t=,v1=",
        "t=-1,v1=0",
        "t=١٦١٤٢٦٥٣٣٠,v1=0",
        f"t={'9' * 400},v1=0",
        "t=1e9,v1=0",
    ],
)
def test_a_malformed_card_processor_header_is_rejected_like_a_wrong_one(signature: str) -> None:
    """A malformed header of the card processor raises WebhookSignatureInvalid, also if it has two timestamps."""
    with pytest.raises(WebhookSignatureInvalid):
        processor(signature, NOW)


def verify_rotated_standard(keys: list[bytes], now: datetime = NOW) -> None:
    """Verify a webhook that its sender signed with the old and the new secret."""
    signatures = (standard_signature(ID, SIGNED_AT, PAYLOAD, key) for key in (STANDARD_KEY, NEW_KEY))
    verify_standard(keys, ID, str(SIGNED_AT), PAYLOAD, " ".join(("v1a,ed25519", *signatures)), now)


def verify_rotated_processor(keys: list[bytes], now: datetime = NOW) -> None:
    """Verify a webhook that the card processor signed with the old and the new secret."""
    old, new = (processor_signature(SIGNED_AT, PAYLOAD, key) for key in (PROCESSOR_KEY, NEW_KEY))
    verify_card_processor(keys, PAYLOAD, f"{old},{new.partition(',')[2]},v0=6ffbb59b", now)


@pytest.mark.parametrize(
    ("verify", "old"), [(verify_rotated_standard, STANDARD_KEY), (verify_rotated_processor, PROCESSOR_KEY)]
)
def test_either_secret_is_valid_during_a_rotation(verify: Callable[[list[bytes]], None], old: bytes) -> None:
    """Every listed signature is compared with every configured secret, in any order."""
    for keys in ([old], [NEW_KEY], [old, NEW_KEY], [NEW_KEY, old], [b"x" * 32, NEW_KEY]):
        verify(keys)

    with pytest.raises(WebhookSignatureInvalid):
        verify([b"x" * 32])
