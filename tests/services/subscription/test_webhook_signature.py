from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest

from contracts.errors import WebhookSignatureInvalid
from services.subscription.webhook_signature import verify_processor, verify_standard
from tests.services.subscription.signing import (
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
processor = partial(verify_processor, [PROCESSOR_KEY], PAYLOAD)


def verified_at(scheme: str, now: datetime) -> None:
    """Verify a webhook that was signed at SIGNED_AT, whose signature is right."""
    if scheme == "standard":
        standard(PUBLISHED, now)
    else:
        processor(processor_signature(SIGNED_AT, PAYLOAD), now)


def test_the_published_test_vector_is_accepted() -> None:
    """Secret, id, timestamp, body and signature that the reference libraries of Standard Webhooks test with."""
    standard(PUBLISHED, NOW)


def test_what_the_card_processor_signed_is_accepted() -> None:
    """Its own scheme, in which the whole text of the secret is the key."""
    processor(processor_signature(SIGNED_AT, PAYLOAD), NOW)


@pytest.mark.parametrize("scheme", ["standard", "processor"])
@pytest.mark.parametrize("sign", [1, -1], ids=["late", "early"])
def test_a_timestamp_is_right_up_to_five_minutes_on_both_sides(scheme: str, sign: int) -> None:
    """One from the future could be replayed until then, so it is refused like an old one."""
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
def test_whatever_is_signed_cannot_be_changed(change: dict[str, object]) -> None:
    """Id, timestamp and every byte of the body; and without a secret nothing is right."""
    given = {"keys": [STANDARD_KEY], "webhook_id": ID, "timestamp": str(SIGNED_AT), "payload": PAYLOAD}

    with pytest.raises(WebhookSignatureInvalid):
        verify_standard(**{**given, **change}, signature=PUBLISHED, now=NOW)  # type: ignore[arg-type]  # one of each


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
def test_a_malformed_signature_is_refused_like_a_wrong_one(signature: str) -> None:
    """The same error, no fault, whatever stands there."""
    with pytest.raises(WebhookSignatureInvalid):
        standard(signature, NOW)


RIGHT = processor_signature(SIGNED_AT, PAYLOAD)


@pytest.mark.parametrize(
    "signature",
    [
        "",
        ",",
        RIGHT.partition(",")[0],
        RIGHT.partition(",")[2],
        RIGHT.replace("v1=", "v0="),
        RIGHT.upper(),
        RIGHT + "0",
        f"t={SIGNED_AT + 1},{RIGHT}",
        f"{RIGHT},t={SIGNED_AT}",
        "t=,v1=",
        "t=-1,v1=0",
        "t=١٦١٤٢٦٥٣٣٠,v1=0",
        f"t={'9' * 400},v1=0",
        "t=1e9,v1=0",
    ],
)
def test_a_malformed_header_of_the_card_processor_is_refused_like_a_wrong_one(signature: str) -> None:
    """Also one with two times, of which only one can have been signed."""
    with pytest.raises(WebhookSignatureInvalid):
        processor(signature, NOW)


def both_standard(keys: list[bytes], now: datetime = NOW) -> None:
    """Verify what a sender signed with its old and its new secret."""
    signatures = (standard_signature(ID, SIGNED_AT, PAYLOAD, key) for key in (STANDARD_KEY, NEW_KEY))
    verify_standard(keys, ID, str(SIGNED_AT), PAYLOAD, " ".join(("v1a,ed25519", *signatures)), now)


def both_processor(keys: list[bytes], now: datetime = NOW) -> None:
    """Verify what the card processor signed with its old and its new secret."""
    old, new = (processor_signature(SIGNED_AT, PAYLOAD, key) for key in (PROCESSOR_KEY, NEW_KEY))
    verify_processor(keys, PAYLOAD, f"{old},{new.partition(',')[2]},v0=6ffbb59b", now)


@pytest.mark.parametrize(("verify", "old"), [(both_standard, STANDARD_KEY), (both_processor, PROCESSOR_KEY)])
def test_while_a_secret_is_replaced_either_will_do(verify: Callable[[list[bytes]], None], old: bytes) -> None:
    """Every listed signature is tried with every secret that is set, in any order."""
    for keys in ([old], [NEW_KEY], [old, NEW_KEY], [NEW_KEY, old], [b"x" * 32, NEW_KEY]):
        verify(keys)

    with pytest.raises(WebhookSignatureInvalid):
        verify([b"x" * 32])
