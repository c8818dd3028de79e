"""Access tokens of users: JWTs for access (RFC 9068), signed with Ed25519 and verified strictly.

A token has exactly one valid form. So nothing in it can choose another algorithm, key or meaning (RFC 8725).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn
from uuid import UUID

from joserfc import jws, jwt
from joserfc.errors import JoseError

from contracts.errors import TokenInvalid
from mesh import base64url

if TYPE_CHECKING:
    from joserfc.jwk import OKPKey

ISSUER = "urn:solo60:auth"
AUDIENCE = "urn:solo60:mesh"
# RFC 9864 replaces the name "EdDSA", which does not name the curve.
ALGORITHM = "Ed25519"
TYPE = "at+jwt"
LIFETIME = timedelta(minutes=10)
# The clocks of two machines may differ by this much.
CLOCK_SKEW = timedelta(seconds=5)
_HEADER = {"alg", "typ", "kid"}
_CLAIMS = {"iss", "aud", "sub", "client_id", "iat", "exp", "jti", "sid", "roles"}
# RFC 9068 requires the id of the client that asked for the token. All people use the clients of Solo60 itself.
CLIENT_ID = "solo60"
_ROLE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """Contents of an access token. Times have whole seconds."""

    user_id: UUID
    roles: tuple[str, ...]
    log_in_id: UUID
    token_id: UUID
    issue_time: datetime
    expire_time: datetime


def sign_access_token(claims: AccessClaims, key: OKPKey) -> str:
    """Return the signed token; `key` is a private key with a key id."""
    header = {"alg": ALGORITHM, "typ": TYPE, "kid": key.kid}
    payload = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": str(claims.user_id),
        "client_id": CLIENT_ID,
        "iat": int(claims.issue_time.timestamp()),
        "exp": int(claims.expire_time.timestamp()),
        "jti": str(claims.token_id),
        "sid": str(claims.log_in_id),
        "roles": list(claims.roles),
    }
    return jwt.encode(header, payload, key, algorithms=[ALGORITHM])


def key_id_of(token: str) -> str:
    """Return the key id in a token's header, before anything is verified; raise TokenInvalid for a wrong header."""
    header = _object(_segments(token)[0])
    if header.keys() != _HEADER or header["alg"] != ALGORITHM or header["typ"] != TYPE:
        raise TokenInvalid
    key_id = header["kid"]
    return key_id if isinstance(key_id, str) else _invalid()


def verify_access_token(token: str, key: OKPKey, now: datetime) -> AccessClaims:
    """Return the claims of a token that `key` has signed, and that is valid at `now`; raise TokenInvalid.

    The caller has chosen `key` by `key_id_of`.
    """
    segments = _segments(token)
    try:
        jws.deserialize_compact(token, key, algorithms=[ALGORITHM])
    except (JoseError, ValueError):
        raise TokenInvalid from None
    claims = _read_claims(_object(segments[1]))
    if claims.issue_time > now + CLOCK_SKEW or claims.expire_time <= now:
        raise TokenInvalid
    if not timedelta() < claims.expire_time - claims.issue_time <= LIFETIME:
        raise TokenInvalid
    return claims


def _read_claims(payload: dict[str, Any]) -> AccessClaims:
    if payload.keys() != _CLAIMS or payload["client_id"] != CLIENT_ID:
        raise TokenInvalid
    if payload["iss"] != ISSUER or payload["aud"] != AUDIENCE:
        raise TokenInvalid
    return AccessClaims(
        user_id=_uuid(payload["sub"]),
        roles=_roles(payload["roles"]),
        log_in_id=_uuid(payload["sid"]),
        token_id=_uuid(payload["jti"]),
        issue_time=_time(payload["iat"]),
        expire_time=_time(payload["exp"]),
    )


def _segments(token: str) -> list[bytes]:
    """Return the three decoded parts of a token."""
    parts = token.split(".")
    if len(parts) != len(("header", "payload", "signature")):
        raise TokenInvalid
    try:
        return [base64url.decode_exact(part) for part in parts]
    except ValueError:
        raise TokenInvalid from None


def _object(text: bytes) -> dict[str, Any]:
    """Parse a JSON object without duplicate members at any depth."""
    try:
        value = json.loads(text.decode(), object_pairs_hook=_without_duplicates, parse_constant=_invalid_constant)
    except (ValueError, RecursionError):
        raise TokenInvalid from None
    return value if isinstance(value, dict) else _invalid()


def _without_duplicates(members: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(members)
    return found if len(found) == len(members) else _invalid()


def _uuid(value: object) -> UUID:
    try:
        read = UUID(value) if isinstance(value, str) else _invalid()
    except ValueError:
        raise TokenInvalid from None
    return read if str(read) == value else _invalid()


def _time(value: object) -> datetime:
    if isinstance(value, bool) or not isinstance(value, int):  # a bool is also an int
        raise TokenInvalid
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        raise TokenInvalid from None


def _roles(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(role, str) and _ROLE.fullmatch(role) for role in value):
        raise TokenInvalid
    return tuple(value)


def _invalid_constant(_text: str) -> NoReturn:
    raise TokenInvalid


def _invalid() -> NoReturn:
    raise TokenInvalid
