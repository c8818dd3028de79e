from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from joserfc import jwe, jws, jwt
from joserfc.jwk import OctKey, OKPKey, RSAKey

from contracts.errors import TokenInvalid
from mesh.access_tokens import LIFETIME, AccessClaims, key_id_of, sign_access_token, verify_access_token

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
# The example key of RFC 8037, appendix A.
KEY = OKPKey.import_key(
    {
        "kty": "OKP",
        "crv": "Ed25519",
        "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    }
)
CLAIMS = AccessClaims(UUID(int=1), ("ADMIN", "MEMBER"), UUID(int=2), UUID(int=3), NOW, NOW + LIFETIME)
SECOND = timedelta(seconds=1)
HEADER = {"alg": "Ed25519", "typ": "at+jwt", "kid": KEY.kid}


def payload_of(claims: AccessClaims = CLAIMS) -> dict[str, Any]:
    """Return the payload of a valid token as a dictionary."""
    return dict(jwt.decode(sign_access_token(claims, KEY), KEY, algorithms=["Ed25519"]).claims)


def verify(token: str, now: datetime = NOW) -> AccessClaims:
    """Verify a token as a service does: by its key id."""
    if key_id_of(token) != KEY.kid:
        raise TokenInvalid
    return verify_access_token(token, KEY, now)


def part(content: object) -> str:
    """Return a part of a token: an object as JSON, or text as it is."""
    text = content if isinstance(content, str) else json.dumps(content)
    return urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def signed(header: object = HEADER, payload: object = None) -> str:
    """Sign any header and payload with the right key."""
    signing_input = f"{part(header)}.{part(payload_of() if payload is None else payload)}"
    signature = KEY.private_key.sign(signing_input.encode())  # type: ignore[union-attr]  # an Ed25519 key
    return f"{signing_input}.{urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def test_a_valid_token_has_its_claims() -> None:
    """A signed token is verified until the last microsecond before its expiry, and has the claims of RFC 9068."""
    token = sign_access_token(CLAIMS, KEY)

    assert verify(token) == CLAIMS
    assert verify(signed()) == CLAIMS
    assert verify(token, NOW + LIFETIME - timedelta(microseconds=1)) == CLAIMS
    assert {"iss", "exp", "aud", "sub", "client_id", "iat", "jti"} <= payload_of().keys()
    assert payload_of()["exp"] - payload_of()["iat"] == 600


@pytest.mark.parametrize("delta", [LIFETIME, LIFETIME + SECOND, timedelta(days=365)])
def test_an_expired_token_is_invalid(delta: timedelta) -> None:
    """A token is invalid from its expiry on."""
    with pytest.raises(TokenInvalid):
        verify(sign_access_token(CLAIMS, KEY), NOW + delta)


def test_a_token_from_the_future_is_invalid() -> None:
    """A token whose issue time is more than five seconds in the future is invalid."""
    token = sign_access_token(CLAIMS, KEY)

    assert verify(token, NOW - 5 * SECOND) == CLAIMS
    with pytest.raises(TokenInvalid):
        verify(token, NOW - 6 * SECOND)


@pytest.mark.parametrize("lifetime", [timedelta(), -SECOND, LIFETIME + SECOND, timedelta(days=1)])
def test_a_lifetime_above_ten_minutes_is_invalid(lifetime: timedelta) -> None:
    """A token is invalid if it expires before its issue, or more than ten minutes after it."""
    claims = replace(CLAIMS, issue_time=NOW - 2 * SECOND, expire_time=NOW - 2 * SECOND + lifetime)
    with pytest.raises(TokenInvalid):
        verify(sign_access_token(claims, KEY), NOW - 3 * SECOND)


@pytest.mark.parametrize(
    "header",
    [
        {**HEADER, "alg": "none"},
        {**HEADER, "alg": "EdDSA"},
        {**HEADER, "alg": "HS256"},
        {**HEADER, "alg": "ed25519"},
        {**HEADER, "alg": None},
        {**HEADER, "typ": "JWT"},
        {**HEADER, "typ": "refresh+jwt"},
        {**HEADER, "kid": "other"},
        {**HEADER, "kid": 1},
        {**HEADER, "kid": None},
        {**HEADER, "jwk": KEY.as_dict(private=False)},
        {**HEADER, "jku": "https://example.org/keys"},
        {**HEADER, "x5u": "https://example.org/certificate"},
        {**HEADER, "x5c": ["MIIB"]},
        {**HEADER, "crit": ["exp"]},
        {**HEADER, "b64": False, "crit": ["b64"]},
        {**HEADER, "cty": "JWT"},
        {**HEADER, "zip": "DEF"},
        {"alg": "Ed25519", "typ": "at+jwt"},
        {"alg": "Ed25519", "kid": KEY.kid},
        {"typ": "at+jwt", "kid": KEY.kid},
        {},
        [],
        "text",
        "1",
        "null",
        "{",
        f'{{"alg": "Ed25519", "alg": "Ed25519", "typ": "at+jwt", "kid": "{KEY.kid}"}}',
        f'{{"alg": "none", "alg": "Ed25519", "typ": "at+jwt", "kid": "{KEY.kid}"}}',
        "[" * 100_000,
    ],
    ids=lambda header: str(header)[:120],
)
def test_a_foreign_header_is_invalid(header: object) -> None:
    """A header with another algorithm, type or key, any further member, or a duplicate one is invalid."""
    with pytest.raises(TokenInvalid):
        verify(signed(header))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("iss", "https://example.org"),
        ("iss", ["urn:solo60:auth"]),
        ("aud", "urn:solo60:other"),
        ("aud", ["urn:solo60:mesh"]),
        ("aud", ["urn:solo60:mesh", "other"]),
        ("client_id", "other"),
        ("sub", "ada"),
        ("sub", 1),
        ("sub", "{00000000-0000-0000-0000-000000000001}"),
        ("sid", None),
        ("jti", ""),
        ("roles", "ADMIN"),
        ("roles", ["admin"]),
        ("roles", [1]),
        ("exp", "9999999999"),
        ("exp", True),
        ("exp", 1e300),
        ("exp", 10**30),
        ("iat", None),
        ("iat", 1.5),
        ("nbf", 1),
        ("more", {}),
    ],
)
def test_a_foreign_claim_is_invalid(name: str, value: object) -> None:
    """A claim with a wrong value or type is invalid, and so is an unknown claim."""
    with pytest.raises(TokenInvalid):
        verify(signed(payload={**payload_of(), name: value}))


@pytest.mark.parametrize("name", payload_of())
def test_a_missing_claim_is_invalid(name: str) -> None:
    """Every claim is required."""
    with pytest.raises(TokenInvalid):
        verify(signed(payload={key: value for key, value in payload_of().items() if key != name}))


def test_a_duplicate_claim_is_invalid() -> None:
    """A payload with a duplicate member is invalid at any depth, and so is a value that JSON does not have."""
    text = json.dumps(payload_of())

    for payload in ('{"exp": 1, ' + text[1:], text[:-1] + ', "x": {"a": 1, "a": 2}}', text[:-1] + ', "x": NaN}'):
        with pytest.raises(TokenInvalid):
            verify(signed(payload=payload))


def _with_spare_bits(token: str) -> str:
    """Spell the same signature differently: its last character has unused bits."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) + 1]


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token + "=",
        lambda token: token + "==",
        lambda token: token + ".",
        lambda token: token + "\n",
        lambda token: " " + token,
        lambda token: token.replace(".", ".\n", 1),
        lambda token: token.replace(".", "..", 1),
        lambda token: token.rpartition(".")[0],
        lambda token: token.rpartition(".")[0] + ".",
        lambda token: token[1:],
        lambda token: token[:-4],
        lambda token: token[:-4] + "+/+/",
        lambda token: token[:-4] + "ÄÄÄÄ",
        lambda token: token + ".a.b",
        lambda token: "." + token.partition(".")[2],
        lambda _token: "",
        lambda _token: "..",
        lambda _token: "a",
        _with_spare_bits,
    ],
)
def test_another_spelling_of_a_token_is_invalid(change: Callable[[str], str]) -> None:
    """Padding, white space, other alphabets, spare bits, and missing or additional parts are invalid."""
    token = sign_access_token(CLAIMS, KEY)

    with pytest.raises(TokenInvalid):
        verify(change(token))


def test_a_token_of_another_key_is_invalid() -> None:
    """Signatures of other keys and algorithms are invalid, even with the id of the right key."""
    other = OKPKey.generate_key("Ed25519", {"kid": str(KEY.kid)})
    public = urlsafe_b64decode(str(KEY.as_dict(private=False)["x"]) + "=")
    secret = OctKey.import_key(public)  # RFC 8725, 3.1: the public key as an HMAC secret
    rsa = RSAKey.generate_key(2048)
    forged = [
        sign_access_token(CLAIMS, other),
        jwt.encode({**HEADER, "alg": "HS256"}, payload_of(), secret, algorithms=["HS256"]),
        jwt.encode({**HEADER, "alg": "RS256"}, payload_of(), rsa, algorithms=["RS256"]),
    ]

    for token in forged:
        with pytest.raises(TokenInvalid):
            verify(token)


def test_nested_and_encrypted_tokens_are_invalid() -> None:
    """A token inside another token is invalid, and so is an encrypted one."""
    token = sign_access_token(CLAIMS, KEY)
    encrypted = jwe.encrypt_compact(
        {"alg": "dir", "enc": "A128GCM", "kid": KEY.kid}, token, OctKey.generate_key(128), algorithms=["dir", "A128GCM"]
    )
    nested = [signed(payload=token), signed({**HEADER, "cty": "JWT"}, token), encrypted]
    nested.append(jws.serialize_compact({**HEADER}, token, KEY, algorithms=["Ed25519"]))

    for each in nested:
        with pytest.raises(TokenInvalid):
            verify(each)


def test_every_flipped_character_is_noticed() -> None:
    """No single changed character leaves a token valid."""
    token = sign_access_token(CLAIMS, KEY)

    for index, character in enumerate(token):
        with pytest.raises(TokenInvalid):
            verify(token[:index] + ("A" if character != "A" else "B") + token[index + 1 :])
